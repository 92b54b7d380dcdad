//! Recorded runs, fed to a core again: the same effects, without network or clock.

mod recorded;

use std::time::Duration;

use model::Plane;
use node::record::{Recorder, read, replay};

use crate::sim::World;

const MINUTE: Duration = Duration::from_secs(60);

/// The same events, with the effects of today's core.
fn blessed(recording: &[u8]) -> Vec<u8> {
    let (head, steps) = read(recording).unwrap();
    let mut core = head.core();
    let mut written = Vec::new();
    let mut recorder = Recorder::new(&mut written, &head).unwrap();
    for step in steps {
        let step = step.unwrap();
        recorder.handle(&mut core, step.at, step.event).1.unwrap();
    }
    written
}

#[test]
fn a_run_through_both_planes_and_a_restart_replays_to_the_same_effects() {
    for seed in 1..4 {
        let mut world = World::recorded(seed, 3);
        world.run_until(5 * MINUTE, |world| world.settled_on(Plane::Overlay));
        world.switch(0, Plane::Native);
        world.run_until(5 * MINUTE, |world| world.settled_on(Plane::Native));
        world.kill(1);
        world.start(1);
        world.run_until(5 * MINUTE, |world| world.settled_on(Plane::Native));
        world.switch(2, Plane::Overlay);
        world.run_until(5 * MINUTE, |world| world.settled_on(Plane::Overlay));
        let tapes: Vec<_> = world.nodes.iter().flat_map(|node| &node.tapes).collect();
        assert_eq!(tapes.len(), 4, "three daemons and one restart");
        for tape in tapes {
            let bytes = tape.bytes();
            let (steps, other) = replay(&bytes[..]).unwrap();
            assert_eq!(other, None);
            assert!(steps > 50, "{steps} steps");
            assert_eq!(blessed(&bytes), bytes, "blessing what is right changes nothing");
        }
    }
}

#[test]
fn a_recording_without_keys_that_came_since_is_read_with_what_is_built_in() {
    let mut world = World::recorded(1, 1);
    world.run_for(Duration::from_secs(1));
    let bytes = world.nodes[0].tapes[0].bytes();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let mut head: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let config = head["config"].as_object_mut().unwrap();
    assert!(config.remove("masquerade").is_some() && config["vxlan"].as_object_mut().unwrap().remove("port").is_some());
    let rest: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
    let old = format!("{head}\n{rest}");
    assert_eq!(replay(old.as_bytes()).unwrap(), replay(&bytes[..]).unwrap());
}

#[test]
fn a_replay_that_goes_another_way_says_where() {
    let mut world = World::recorded(1, 1);
    world.run_until(5 * MINUTE, |world| world.settled_on(Plane::Overlay));
    let bytes = world.nodes[0].tapes[0].bytes();
    let text = String::from_utf8(bytes).unwrap();
    // The pool's first octet in what the daemon did, not in what it was told.
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("\"effects\":") {
            Some((told, did)) if did.contains("claim") => {
                format!("{told}\"effects\":{}", did.replace("10.244.", "10.99."))
            }
            _ => line.to_owned(),
        })
        .collect();
    assert_ne!(lines.join("\n"), text.trim_end());
    let changed = lines.join("\n") + "\n";
    let (steps, other) = replay(changed.as_bytes()).unwrap();
    let other = other.expect("another run");
    assert_eq!(other.step, steps + 1);
    assert!(other.missing.iter().any(|e| e.contains("10.99.")) && other.new.iter().any(|e| e.contains("10.244.")));
}

#[test]
fn what_is_no_recording_is_said_by_line() {
    let cut = |text: &str| replay(text.as_bytes()).unwrap_err();
    assert_eq!(cut(""), "line 1: not a recording of biplaned --record");
    assert_eq!(cut("{\"form\":9}\n"), "line 1: a recording of form 9; this program reads form 1");
    let mut world = World::recorded(1, 1);
    world.run_for(Duration::from_secs(1));
    let bytes = world.nodes[0].tapes[0].bytes();
    let whole = replay(&bytes[..]).unwrap().0;
    let (steps, other) = replay(&bytes[..bytes.len() - 3]).unwrap();
    assert_eq!((steps, other), (whole - 1, None), "a last line that is cut off is left out");
    let mut broken = bytes.clone();
    let second = broken.iter().position(|b| *b == b'\n').unwrap() + 1;
    broken[second] = b'x';
    assert!(replay(&broken[..]).unwrap_err().starts_with("line 2: "));
}
