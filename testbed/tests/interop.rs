//! `make interop`: what a biplaned does with FRR, BIRD and GoBGP, feature by feature, as a table.
//!
//! One lab with all routers and, for every feature that needs one, a session of its own with each. A cell is green when
//! both sides say so: the router by its own command line, the daemon by `biplane … -o json`, its metrics and its kernel's
//! tables. What a router lacks is said with the reason.
//!
//! Needs root, FRR, BIRD, GoBGP and BIPLANE_BIN_DIR; without them it fails. `BIPLANE_INTEROP_ONLY` names rows to look at,
//! by a part of their name.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[path = "interop/bed.rs"]
mod bed;
#[path = "interop/configured.rs"]
mod configured;
#[path = "interop/features.rs"]
mod features;
#[path = "interop/routers.rs"]
mod routers;
mod stage;

use std::time::{Duration, Instant};

use bed::Bed;
use features::{Feature, THEMES};
use routers::Router;

/// Until the last session of the lab should be up, from its start.
const SETTLED: Duration = Duration::from_secs(60);
/// What has not come about by then, with all sessions long up, never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cell of the matrix.
enum Cell {
    Green(String, Duration),
    Failed(String),
    Lacks(&'static str),
}

#[test]
fn features_with_frr_bird_and_gobgp() {
    let _turn = testbed::turn::take().unwrap();
    let only = std::env::var("BIPLANE_INTEROP_ONLY").unwrap_or_default();
    let began = Instant::now();
    let bed = Bed::deploy(THEMES.iter().flat_map(|theme| theme.slots).copied().collect());
    let titles: Vec<String> =
        Router::ALL.iter().map(|router| format!("{} {}", router.title(), router.version(&bed))).collect();
    println!("with {}; lab deployed in {:.1} s", titles.join(", "), began.elapsed().as_secs_f64());
    let mut rows: Vec<(&Feature, [Cell; 3])> = Vec::new();
    for feature in THEMES.iter().flat_map(|theme| theme.rows).filter(|feature| feature.name.contains(&only)) {
        // The routers do not know each other: their cells are looked at at the same time.
        let cells = std::thread::scope(|scope| {
            let looks = Router::ALL.map(|router| {
                let bed = &bed;
                scope.spawn(move || look(bed, feature, router, began))
            });
            looks.map(|look| look.join().unwrap())
        });
        for (cell, router) in cells.iter().zip(Router::ALL) {
            let (name, title) = (feature.name, router.title());
            match cell {
                Cell::Green(evidence, took) => {
                    println!("{name}, {title}: {} ({:.1} s)", routers::brief(evidence), took.as_secs_f64());
                }
                Cell::Failed(why) => println!("{name}, {title}: FAILED: {why}"),
                Cell::Lacks(why) => println!("{name}, {title}: lacking: {why}"),
            }
        }
        rows.push((feature, cells));
    }
    println!("\n{}", matrix(&rows));
    println!("looked at in {:.0} s", began.elapsed().as_secs_f64());
    let failed: Vec<String> = rows
        .iter()
        .flat_map(|(feature, cells)| {
            cells.iter().zip(Router::ALL).filter_map(|(cell, router)| match cell {
                Cell::Failed(why) => Some(format!("{}, {}: {why}", feature.name, router.title())),
                _ => None,
            })
        })
        .collect();
    assert!(!rows.is_empty(), "no row's name contains {only:?}");
    assert!(failed.is_empty(), "{} cells failed:\n{}", failed.len(), failed.join("\n"));
}

/// One cell, looked at until it is green or time is over.
fn look(bed: &Bed, feature: &Feature, router: Router, began: Instant) -> Cell {
    if let Some(why) = feature.lacks[router as usize] {
        return Cell::Lacks(why);
    }
    let Some(check) = feature.check else { return Cell::Failed("nobody looks at it".into()) };
    let at = Instant::now();
    let deadline = (began + SETTLED).max(at + PATIENCE);
    loop {
        let why = match check(bed, router) {
            Ok(evidence) => return Cell::Green(evidence, at.elapsed()),
            Err(why) => why,
        };
        if Instant::now() > deadline {
            return Cell::Failed(why);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Asks again and again for a moment.
pub fn within<T>(probe: impl FnMut() -> Option<T>) -> Option<T> {
    until(PATIENCE, probe)
}

/// Asks again and again for as long as a session may take to come back, with all the pauses between dials.
pub fn in_the_end<T>(probe: impl FnMut() -> Option<T>) -> Option<T> {
    until(SETTLED, probe)
}

fn until<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn matrix(rows: &[(&Feature, [Cell; 3])]) -> String {
    let width = rows.iter().map(|(feature, _)| feature.name.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}   {:16}   {:16}   {:16}\n", "FEATURE", "FRR", "BIRD", "GoBGP");
    for (feature, cells) in rows {
        let words = cells.each_ref().map(|cell| match cell {
            Cell::Green(..) => "green",
            Cell::Failed(_) => "FAILED",
            Cell::Lacks(_) => "router lacks it",
        });
        let line = format!("{:width$}   {:16}   {:16}   {:16}", feature.name, words[0], words[1], words[2]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
