//! What holds whatever a peer sends. Input: records of a head of three octets (what to do, how long to wait in units of
//! 10 ms, length) and so many octets of a packet.

use std::time::Duration;

use bfd::{Arrival, Hops, Output, Packet, SessionConfig, SessionKey, Sessions};
use model::Moment;

/// Takes a script of packets and waits.
pub(crate) fn enter(data: &[u8]) {
    let mut now = Moment::new(Duration::from_secs(1));
    let mut sessions = Sessions::new(1);
    let key = SessionKey::single_hop([10, 0, 0, 2].into());
    let config = SessionConfig::default();
    sessions.set(now, key.clone(), config.clone());
    let mut rest = data;
    while let [what, wait, length, behind @ ..] = rest {
        now = now + Duration::from_millis(u64::from(*wait) * 10);
        if sessions.poll_timeout().is_some_and(|at| at <= now) {
            sessions.handle_timeout(now);
        }
        assert!(sessions.poll_timeout().is_none_or(|at| at > now), "due is done");
        let (octets, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        let mut octets = octets.to_vec();
        read(&octets);
        if what & 1 != 0
            && let (Some(yours), Some(is)) = (octets.get_mut(8..12), sessions.snapshot(&key))
        {
            // Nobody guesses it.
            yours.copy_from_slice(&is.local_discriminator.to_be_bytes());
        }
        match what >> 4 {
            1 => sessions.remove(now, &key),
            2 => {
                let interval = Duration::from_millis(u64::from(*length) * 10);
                let config = SessionConfig { transmit: interval, receive: interval, ..config.clone() };
                sessions.set(now, key.clone(), config);
            }
            _ => {}
        }
        let arrival = Arrival {
            source: key.peer,
            destination: [10, 0, 0, 1].into(),
            device: None,
            ttl: if what & 2 == 0 { 255 } else { 254 },
            hops: if what & 4 == 0 { Hops::Single } else { Hops::Multi },
        };
        let before = sessions.snapshot(&key);
        if sessions.handle_packet(now, &arrival, &octets).is_err() {
            assert_eq!(sessions.snapshot(&key), before, "a dropped packet has changed something");
        }
        perform(&mut sessions);
    }
}

/// What is read and written again is the same.
fn read(octets: &[u8]) {
    if let Ok(packet) = Packet::decode(octets)
        && !packet.authenticated
    {
        assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }
}

fn perform(sessions: &mut Sessions) {
    let mut sent = 0;
    while let Some(output) = sessions.poll_output() {
        if let Output::Send { octets, .. } = output {
            sent += 1;
            let packet = Packet::decode(&octets).expect("our own packets are right");
            assert!(!packet.poll || !packet.last, "never both (RFC 5880 6.5)");
        }
    }
    // An answer, a change, what was due in a wait of 2.55 s at intervals that the peer cannot make shorter.
    assert!(sent <= 4096, "{sent} packets for one");
}
