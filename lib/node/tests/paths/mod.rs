//! BFD in whole daemons: which sessions are asked for, and what its word does to sessions, paths and the kernel.

use std::time::Duration;

use bfd::{Diagnostic, Hops, SessionKey, Snapshot, State};
use model::Plane;
use model::bfd::BfdProfile;
use model::kernel::{Key, Value, Via, Write};
use node::{Effect, Event};
use peering::{BfdCommand, BfdEvent, Command};

use crate::sim::World;

const MINUTE: Duration = Duration::from_secs(60);
const DETECTION: Duration = Duration::from_millis(900);

/// Three nodes that stand on bgp, with BFD between them.
fn world(fallback: bool) -> World {
    let mut world = World::new(5, 3, |config| {
        config.mode = Plane::Native;
        config.fallback = fallback;
        config.bgp.mesh_bfd = Some(BfdProfile::DEFAULT.to_owned());
    });
    world.run_until(5 * MINUTE, |world| world.all_on(Plane::Native) && world.nodes.iter().all(|n| n.bfd.len() == 2));
    world.run_for(Duration::from_secs(10));
    world
}

/// The session of node 0 with node 1.
fn key() -> SessionKey {
    SessionKey {
        peer: "10.0.0.2".parse().unwrap(),
        device: None,
        local: Some("10.0.0.1".parse().unwrap()),
        hops: Hops::Multi,
    }
}

fn up() -> Snapshot {
    Snapshot {
        state: State::Up,
        ups: 1,
        local_discriminator: 1,
        remote_discriminator: 2,
        remote_state: Some(State::Up),
        transmit_interval: DETECTION / 3,
        detection_time: DETECTION,
        ..Snapshot::default()
    }
}

fn silent() -> Snapshot {
    Snapshot {
        state: State::Down,
        diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
        failures: 1,
        remote_discriminator: 0,
        remote_state: None,
        detection_time: Duration::ZERO,
        ..up()
    }
}

fn tell(world: &mut World, snapshot: Snapshot) -> Vec<Effect> {
    world.tell_for(0, Event::Bfd(BfdEvent::Changed { session: key(), snapshot }))
}

/// Does node 0 send anything to the pods of node 1 natively?
fn native_to_1(world: &World) -> usize {
    let first = "10.0.0.2".parse().ok();
    let second = "fd00::2".parse().ok();
    let hops = world.nodes[0].kernel.values().filter_map(|value| match value {
        Value::Route { via: Via::Hops(hops), .. } => Some(hops),
        _ => None,
    });
    hops.flat_map(|hops| hops.iter()).filter(|hop| hop.gateway == first || hop.gateway == second).count()
}

/// The event that says so ends the session and takes the routes out of the kernel, or moves them to the fallback, before
/// any other event is looked at.
///
/// Checklist: 98
#[test]
fn a_failed_path_takes_its_routes_along_in_the_same_event() {
    for fallback in [false, true] {
        let mut world = world(fallback);
        assert!(tell(&mut world, up()).iter().all(|effect| matches!(effect, Effect::Say(_))));
        assert_eq!(native_to_1(&world), 2, "both families");
        let effects = tell(&mut world, silent());
        let closed = effects.iter().filter(|effect| matches!(effect, Effect::Peering(Command::Close { .. }))).count();
        assert_eq!(closed, 1, "{effects:?}");
        let writes: Vec<&Write> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Kernel(kernel::Command::Write(writes)) => Some(writes),
                _ => None,
            })
            .flatten()
            .filter(|write| matches!(write.key(), Key::Route(_)))
            .collect();
        assert_eq!(writes.len(), 2, "{writes:?}");
        assert!(writes.iter().all(|write| matches!(write, Write::Replace(..)) == fallback), "{writes:?}");
        assert_eq!(native_to_1(&world), 0);
        let line = "BFD session down: control detection time expired: nothing heard for 900 ms";
        assert!(world.log.iter().any(|said| said.contains(line)), "{}", world.tail());
        // The other end has heard nothing, and the way is there again: so are session and routes.
        world.run_for(Duration::from_secs(1));
        tell(&mut world, Snapshot { failures: 1, ups: 2, ..up() });
        world.run_until(MINUTE, |world| native_to_1(world) == 2);
    }
}

/// The peer's operator has turned BFD off: that says nothing about the path.
///
/// Checklist: 99
#[test]
fn admin_down_of_the_peer_changes_nothing() {
    let mut world = world(false);
    tell(&mut world, up());
    let effects = tell(
        &mut world,
        Snapshot {
            state: State::Down,
            diagnostic: Diagnostic::PEER_SIGNALED_DOWN,
            remote_state: Some(State::AdminDown),
            ..up()
        },
    );
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Say(_))), "{effects:?}");
    world.run_for(Duration::from_secs(30));
    assert_eq!(native_to_1(&world), 2);
}

/// A session that was never up has nothing to fail: the other end may not know of BFD at all.
#[test]
fn bgp_waits_for_no_bfd() {
    let mut world = world(false);
    let effects = tell(&mut world, Snapshot { state: State::Down, ..Snapshot::default() });
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Say(_))), "{effects:?}");
    let effects = tell(&mut world, Snapshot { failures: 0, ups: 0, ..silent() });
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Say(_))), "{effects:?}");
    assert_eq!(native_to_1(&world), 2);
}

/// Up and down between two reports shows in the counts alone.
#[test]
fn a_failure_between_two_reports_counts() {
    let mut world = world(false);
    tell(&mut world, up());
    let effects = tell(&mut world, Snapshot { failures: 1, ups: 2, ..up() });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Peering(Command::Close { .. }))), "{effects:?}");
}

/// No key of BFD is one of BGP: sessions, and the routes in the kernel, are as they were.
///
/// Checklist: 100
#[test]
fn bfd_is_turned_on_and_off_and_retimed_without_a_word_to_bgp() {
    let mut world = world(false);
    let quiet = |effects: &[Effect]| {
        let loud = |effect: &Effect| matches!(effect, Effect::Peering(_) | Effect::Kernel(kernel::Command::Write(_)));
        !effects.iter().any(loud)
    };
    let change = |world: &mut World, change: fn(&mut model::config::BgpConfig)| -> Vec<BfdCommand> {
        change(&mut world.nodes[0].config.bgp);
        let config = Box::new(world.nodes[0].config.clone());
        let effects = world.tell_for(0, Event::Config { config, keys: [].into() });
        assert!(quiet(&effects), "{effects:?}");
        let bfd = effects.into_iter().filter_map(|effect| match effect {
            Effect::Bfd(command) => Some(command),
            _ => None,
        });
        bfd.collect()
    };
    tell(&mut world, up());
    let fast = change(&mut world, |bgp| {
        let profile = BfdProfile { min_tx: Duration::from_millis(50), multiplier: 5, ..BfdProfile::default() };
        bgp.bfd_profiles.insert(BfdProfile::DEFAULT.to_owned(), profile);
    });
    let retimed = |command: &BfdCommand| match command {
        BfdCommand::Set { config, .. } => config.transmit == Duration::from_millis(50) && config.multiplier == 5,
        BfdCommand::Remove(_) => false,
    };
    assert!(
        fast.len() == 2 && fast.iter().all(retimed),
        "the same sessions with other times, and no new ones: {fast:?}"
    );
    let off = change(&mut world, |bgp| bgp.mesh_bfd = None);
    assert!(off.len() == 2 && off.iter().all(|it| matches!(it, BfdCommand::Remove(_))), "{off:?}");
    // What the session that is on its way out still says is no news.
    let effects = tell(&mut world, silent());
    assert!(effects.is_empty(), "{effects:?}");
    let on = change(&mut world, |bgp| bgp.mesh_bfd = Some(BfdProfile::DEFAULT.to_owned()));
    assert!(on.len() == 2 && on.iter().all(retimed), "{on:?}");
    assert_eq!(native_to_1(&world), 2);
}

/// Whoever closes a session on purpose says so in BFD first, so that the peer takes it for no failure.
#[test]
fn admin_down_comes_before_the_end_of_a_session() {
    let first = |effects: &[Effect]| {
        let bfd = effects.iter().position(|effect| matches!(effect, Effect::Bfd(BfdCommand::Remove(_))));
        let bgp = effects.iter().position(|effect| matches!(effect, Effect::Peering(Command::Send { .. })));
        (bfd, bgp)
    };
    let mut down = world(false);
    let peer = "10.0.0.2".parse().unwrap();
    let operation = status::Operation::BgpPeer { peer, up: false, text: String::new() };
    let effects = down.tell_for(0, Event::Operator(1, operation));
    let (bfd, bgp) = first(&effects);
    assert!(bfd.unwrap() < bgp.unwrap(), "{effects:?}");
    assert_eq!(down.nodes[0].bfd.len(), 1, "the other peer is watched on");

    let mut ends = world(false);
    let effects = ends.tell_for(0, Event::Terminate);
    let removed = effects.iter().filter(|effect| matches!(effect, Effect::Bfd(BfdCommand::Remove(_)))).count();
    assert_eq!(removed, 2, "{effects:?}");

    let mut switched = world(false);
    switched.switch(0, Plane::Overlay);
    switched.run_until(5 * MINUTE, |world| world.settled_on(Plane::Overlay));
    assert!(switched.nodes.iter().all(|node| node.bfd.is_empty()), "no plane, no sessions, no BFD");
}
