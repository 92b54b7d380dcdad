//! The one entry of the fuzz target and of the corpus test: whatever octets come, the door keeps its promises.

use std::collections::BTreeSet;

use model::{Family, Prefix};
use wire::{
    Decoder, HEADER, MAX_EXTENDED_MESSAGE, Message, Negotiated, Treatment, Update, decode, encode, encode_announce,
    encode_withdraw, frame_length,
};

/// Takes `data` for a message, and for the body of one whose type its first octet picks.
///
/// # Panics
/// When a promise is broken.
pub fn enter(data: &[u8]) {
    for negotiated in sessions() {
        if let Ok(Some(length)) = frame_length(data, negotiated.max_message) {
            assert!((HEADER..=negotiated.max_message).contains(&length));
            if let Some(message) = data.get(..length) {
                check(message, &negotiated);
            }
        }
        if let Some((kind, body)) = data.split_first() {
            let length = body.len() + HEADER;
            if length > MAX_EXTENDED_MESSAGE {
                continue;
            }
            let mut message = vec![0xff; 16];
            message.extend_from_slice(&(length as u16).to_be_bytes());
            message.push(kind % 5 + 1);
            message.extend_from_slice(body);
            check(&message, &negotiated);
        }
    }
}

/// Sessions of each kind.
fn sessions() -> Vec<Negotiated> {
    let mut sessions = Vec::new();
    for (four_octet_as, ibgp) in [(true, true), (true, false), (false, true), (false, false)] {
        let families = BTreeSet::from(Family::BOTH);
        // Many paths on two of them.
        let add_path = if ibgp == four_octet_as { families.clone() } else { BTreeSet::new() };
        sessions.push(Negotiated {
            four_octet_as,
            ibgp,
            families,
            max_message: MAX_EXTENDED_MESSAGE,
            add_path_send: add_path.clone(),
            add_path_receive: add_path,
            extended_next_hop: four_octet_as,
            accept_as_sets: ibgp && !four_octet_as,
        });
    }
    let families = BTreeSet::from([Family::V6]);
    sessions.push(Negotiated { four_octet_as: true, ibgp: false, families, ..Negotiated::default() });
    sessions
}

fn check(message: &[u8], negotiated: &Negotiated) {
    let mut decoder = Decoder::default();
    let decoded = decoder.decode(message, negotiated);
    assert_eq!(decoded, decoder.decode(message, negotiated), "memory changes nothing");
    match decoded {
        Err(error) => {
            assert!((1..=8).contains(&error.notification.code), "{error}");
            assert!(!error.what.is_empty());
            let answer = Message::Notification(error.notification);
            assert!(encode(&answer, &Negotiated::default()).is_ok(), "a NOTIFICATION always fits 4096 octets");
        }
        Ok(Message::Update(update)) => check_update(&update, negotiated),
        Ok(Message::Notification(notification)) => {
            assert!(!notification.words().chars().any(char::is_control));
            round_trip(&Message::Notification(notification), negotiated);
        }
        // An OPEN of AS 0 or with two capabilities 65 can be received and not sent.
        Ok(open @ Message::Open(_)) => {
            if let Ok(octets) = encode(&open, negotiated) {
                assert_eq!(decode(&octets, negotiated), Ok(open));
            }
        }
        Ok(Message::RouteRefresh(refresh)) if refresh.family.is_none() => {}
        Ok(other) => round_trip(&other, negotiated),
    }
}

fn round_trip(message: &Message, negotiated: &Negotiated) {
    let octets = encode(message, negotiated).unwrap();
    assert_eq!(decode(&octets, negotiated).as_ref(), Ok(message));
}

fn check_update(update: &Update, negotiated: &Negotiated) {
    let strongest = update.errors.iter().map(|error| error.treatment).max();
    assert_eq!(update.treatment, strongest);
    assert!(update.treatment < Some(Treatment::ResetSession), "that is an error of its own");
    if update.treatment >= Some(Treatment::Withdraw) {
        assert!(update.announced.is_empty());
    }
    assert_eq!(update.attributes.is_some(), !update.announced.is_empty());
    if update.end_of_rib.is_some() {
        let alone = Update { end_of_rib: update.end_of_rib, ..Update::default() };
        assert_eq!(update, &alone);
    }
    let announced: BTreeSet<(Prefix, u32)> = update.announced.iter().map(|a| (a.prefix, a.path_id)).collect();
    let withdrawn: BTreeSet<(Prefix, u32)> = update.withdrawn.iter().map(|w| (w.prefix, w.path_id)).collect();
    assert!(announced.is_disjoint(&withdrawn));
    assert!(announced.union(&withdrawn).all(|(prefix, _)| negotiated.families.contains(&prefix.family())));

    // What was taken in can be said again, and means the same.
    if let Some(attributes) = &update.attributes {
        if negotiated.ibgp {
            assert!(attributes.as_path.ases().all(|asn| asn.0 != 0));
        } else {
            assert_eq!((attributes.local_pref, attributes.originator_id), (None, None));
            assert!(attributes.cluster_list.is_empty());
        }
        for announced in &update.announced {
            let (next_hop, link_local) = (announced.next_hop, announced.link_local);
            let Ok(messages) =
                encode_announce(&[(announced.prefix, announced.path_id)], next_hop, link_local, attributes, negotiated)
            else {
                panic!("cannot be sent: {announced:?} {attributes:?}");
            };
            let Ok(Message::Update(again)) = decode(&messages[0], negotiated) else {
                panic!("cannot be read again: {announced:?} {attributes:?}");
            };
            assert_eq!(again.announced, [*announced]);
            assert_eq!(again.attributes.as_ref(), Some(attributes));
        }
    }
    for family in Family::BOTH {
        let paths = update.withdrawn.iter().map(|w| (w.prefix, w.path_id));
        let prefixes: Vec<(Prefix, u32)> = paths.filter(|(prefix, _)| prefix.family() == family).collect();
        for message in encode_withdraw(&prefixes, negotiated).unwrap() {
            assert!(message.len() <= negotiated.max_message);
        }
    }
}
