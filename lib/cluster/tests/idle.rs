//! What a store costs when nothing happens. Alone in its process, so that its threads can be told.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{Command, Event, Outcome};
use support::Told;

fn store_threads() -> Vec<PathBuf> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks.filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "store")).collect()
}

/// Nanoseconds on a CPU, and times it got one.
fn used(task: &Path) -> (u64, u64) {
    let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
    let mut fields = stat.split_whitespace().map(|field| field.parse().unwrap());
    let (running, _, times) = (fields.next().unwrap(), fields.next(), fields.next().unwrap());
    (running, times)
}

#[test]
fn an_idle_store_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let one = Told::start(dir.path(), "n1");
    one.wait("coordination", |event| *event == Event::Coordinator(true));
    let two = Told::start(dir.path(), "n2");
    for (nth, store) in [&one, &two].into_iter().enumerate() {
        let kept = store.claim(&format!("10.{nth}.0.0/24"));
        assert_eq!(store.ask(Command::Create(kept)), Ok(Outcome::Done));
        // A quarantine that runs, and a file that cannot be read: both have timers.
        let freed = store.claim(&format!("10.{nth}.1.0/24"));
        assert_eq!(store.ask(Command::Create(freed.clone())), Ok(Outcome::Done));
        assert_eq!(store.ask(Command::Release(freed.pod_cidr)), Ok(Outcome::Done));
    }
    std::fs::write(dir.path().join("claims/10.9.0.0_24"), "junk").unwrap();
    two.wait("the complaint", |event| matches!(event, Event::Warn(_)));
    let threads = store_threads();
    assert_eq!(threads.len(), 2);
    let before: Vec<_> = threads.iter().map(|task| used(task)).collect();
    let window = Duration::from_secs(4);
    std::thread::sleep(window);
    for (task, (running, times)) in threads.iter().zip(before) {
        let (now_running, now_times) = used(task);
        let (running, times) = (Duration::from_nanos(now_running - running), now_times - times);
        println!("{}: {running:?} of CPU and {times} wake-ups in {window:?}", task.display());
        assert!(running < window / 100, "more than 1 % of a CPU: {running:?}");
        assert!(times < 60, "{times} wake-ups");
    }
}
