//! The store's directory is taken away, covered, filled up and scribbled on: what was told stands, the reason is named,
//! and everything goes on by itself afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use cluster::{Command, Event, Outcome};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use support::{Told, claim, file_of, phase, wish};

fn down(event: &Event) -> bool {
    matches!(event, Event::Down(_))
}

/// Does what breaks the store, does what mends it, and watches what is told.
fn breaks_and_mends(dir: &Path, expected: &[&str], hurt: impl Fn(), mend: impl Fn()) {
    let one = Told::start(dir, "n1");
    one.wait("coordination", |event| *event == Event::Coordinator(true));
    let held = one.claim("10.1.0.0/24");
    assert_eq!(one.ask(Command::Create(held.clone())), Ok(Outcome::Done));
    let other = claim("10.2.0.0/24", "n2");
    fs::write(dir.join("claims/10.2.0.0_24"), serde_json::to_vec(&other).unwrap()).unwrap();
    one.wait_state("the other's claim", |state| state.claims.len() == 2);
    let before = one.state();

    let mark = one.mark();
    hurt();
    let Event::Down(words) = one.wait_since(mark, "the news", down) else { panic!() };
    for part in expected {
        assert!(words.contains(part), "`{words}` does not say `{part}`");
    }
    // Commands wait, the last one of each thing counts; and what was told stands.
    one.send(Command::Phase(phase("n1", 1)));
    one.send(Command::Phase(phase("n1", 2)));
    let new = one.claim("10.3.0.0/24");
    one.send(Command::Create(new.clone()));
    one.send(Command::Wish(Some(wish(1, "n1"))));
    std::thread::sleep(Duration::from_millis(700));
    let now = one.state();
    assert_eq!((&now.claims, &now.phases), (&before.claims, &before.phases), "something was taken back");
    let told = one.ear.all().split_off(mark);
    assert!(!told.iter().any(|event| matches!(event, Event::Listed(_) | Event::Up | Event::Done(..))), "{told:?}");

    mend();
    let mended = Instant::now();
    one.wait_since(mark, "the end of it", |event| *event == Event::Up);
    println!("up again {:?} after it was mended", mended.elapsed());
    for command in [Command::Phase(phase("n1", 2)), Command::Create(new.clone()), Command::Wish(Some(wish(1, "n1")))] {
        assert_eq!(one.answer(mark, &command), Ok(Outcome::Done));
    }
    let told = one.ear.all().split_off(mark);
    let up = told.iter().position(|event| *event == Event::Up).unwrap();
    assert!(matches!(told[up - 1], Event::Listed(_)), "no list before up: {told:?}");
    assert!(!told.contains(&Event::Done(Command::Phase(phase("n1", 1)), Ok(Outcome::Done))), "overtaken, yet done");
    one.wait_state("everything", |state| {
        state.claims.len() == 3
            && state.claims.contains_key(&new.pod_cidr)
            && state.phases.values().eq([&phase("n1", 2)])
            && state.wish == Some(wish(1, "n1"))
    });
    one.ear.wait("coordination as before", 0, |events| {
        let last = events.iter().rfind(|event| matches!(event, Event::Coordinator(_)));
        (last == Some(&Event::Coordinator(true))).then_some(())
    });
    // Another daemon sees the same.
    assert_eq!(Told::start(dir, "n9").state().claims, one.state().claims);
}

#[test]
fn the_directory_goes_away() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, away) = (parent.path().join("store"), parent.path().join("away"));
    let name = dir.display().to_string();
    breaks_and_mends(
        &dir,
        &[&name, "No such file", "bring the store"],
        || fs::rename(&dir, &away).unwrap(),
        || {
            assert!(!dir.exists(), "it was made anew: an empty store in its place");
            fs::rename(&away, &dir).unwrap();
        },
    );
}

#[test]
fn a_file_lies_in_its_place() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, away) = (parent.path().join("store"), parent.path().join("away"));
    fs::write(&away, "no store").unwrap();
    let swap = || renameat_with(CWD, &dir, CWD, &away, RenameFlags::EXCHANGE).unwrap();
    breaks_and_mends(&dir, &["Not a directory", "move it away"], swap, swap);
}

#[test]
fn an_empty_directory_in_its_place_is_not_an_empty_store() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, away) = (parent.path().join("store"), parent.path().join("away"));
    fs::create_dir(&away).unwrap();
    let swap = || renameat_with(CWD, &dir, CWD, &away, RenameFlags::EXCHANGE).unwrap();
    breaks_and_mends(&dir, &["another directory than before"], swap, || {
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "something was written into it");
        swap();
    });
}

#[test]
fn a_part_of_it_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let (part, away) = (dir.path().join("claims"), dir.path().join("claims.away"));
    breaks_and_mends(
        dir.path(),
        &["claims", "No such file"],
        || fs::rename(&part, &away).unwrap(),
        || {
            fs::rename(&away, &part).unwrap();
        },
    );
}

/// A tmpfs that goes with the test.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn on(path: &Path, options: &str) -> Tmpfs {
        let options = std::ffi::CString::new(options).unwrap();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).expect("root may mount");
        Tmpfs(path.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn something_is_mounted_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let cover = std::cell::RefCell::new(None);
    let hurt = || drop(cover.replace(Some(Tmpfs::on(dir.path(), "size=64k"))));
    breaks_and_mends(dir.path(), &["another directory than before", "unmount"], hurt, || drop(cover.take()));
}

/// Takes everything that a file system has left.
fn fill(dir: &Path) {
    let mut ballast = fs::File::create(dir.join("ballast")).unwrap();
    while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
}

#[test]
fn the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let _small = Tmpfs::on(dir.path(), "size=256k");
    let words = ["No space left", "free space"];
    breaks_and_mends(dir.path(), &words, || fill(dir.path()), || fs::remove_file(dir.path().join("ballast")).unwrap());
}

#[test]
fn the_disk_has_no_inodes() {
    let dir = tempfile::tempdir().unwrap();
    let _small = Tmpfs::on(dir.path(), "size=1m,nr_inodes=64");
    let hurt = || {
        let mut nth = 0;
        while fs::create_dir(dir.path().join(format!("ballast{nth}"))).is_ok() {
            nth += 1;
        }
    };
    breaks_and_mends(dir.path(), &["No space left", "inodes"], hurt, || {
        for entry in fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.file_name().unwrap().to_str().unwrap().starts_with("ballast") {
                fs::remove_dir(entry).unwrap();
            }
        }
    });
}

#[test]
fn the_disk_is_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let _small = Tmpfs::on(dir.path(), "size=1m");
    let remount = |flags| mount_remount(dir.path(), flags, "").expect("root may remount");
    breaks_and_mends(dir.path(), &["Read-only"], || remount(MountFlags::RDONLY), || remount(MountFlags::empty()));
}

#[test]
fn a_full_disk_is_read_at_the_start_and_others_are_still_heard() {
    let dir = tempfile::tempdir().unwrap();
    let _small = Tmpfs::on(dir.path(), "size=256k");
    let one = Told::start(dir.path(), "n1");
    assert_eq!(one.ask(Command::Create(one.claim("10.1.0.0/24"))), Ok(Outcome::Done));
    drop(one);
    let other = serde_json::to_vec(&claim("10.2.0.0/24", "n2")).unwrap();
    fs::write(dir.path().join("aside"), &other).unwrap();
    fill(dir.path());
    let one = Told::start(dir.path(), "n1");
    assert_eq!(one.state().claims.len(), 1);
    one.wait("the reason", down);
    fs::rename(dir.path().join("aside"), dir.path().join("claims/10.2.0.0_24")).unwrap();
    one.wait_state("the other's claim", |state| state.claims.len() == 2);
}

#[test]
fn what_cannot_be_read_is_named_and_left_out_and_its_pod_cidr_stays_taken() {
    let dir = tempfile::tempdir().unwrap();
    let one = Told::start(dir.path(), "n1");
    let held = one.claim("10.1.0.0/24");
    assert_eq!(one.ask(Command::Create(held.clone())), Ok(Outcome::Done));
    assert_eq!(one.ask(Command::Phase(phase("n1", 1))), Ok(Outcome::Done));
    let good = claim("10.77.0.0/24", "n7");
    let whole = serde_json::to_vec(&good).unwrap();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("claims/10.70.0.0_24", b"{\"podCidr\":".to_vec()),
        ("claims/10.71.0.0_24", Vec::new()),
        ("claims/10.72.0.0_24", whole.clone()),
        ("claims/10.73.0.0_24", vec![0xff; 5000]),
        ("claims/10.74.0.1_24", whole.clone()),
        ("claims/README", b"hello".to_vec()),
        ("quarantine/10.75.0.0_24", b"[]".to_vec()),
        ("phases/n7.json", b"{}".to_vec()),
        ("phases/../digest.json", b"\0\0\0".to_vec()),
        ("wish.json", b"{\"plane\":\"teleport\"}".to_vec()),
        // A damaged own claim, and a damaged own phase: what was known stands.
        ("claims/10.1.0.0_24", b"{".to_vec()),
        ("phases/n1.json", b"{".to_vec()),
    ];
    let before = one.state();
    for (name, content) in &files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    fs::create_dir(dir.path().join("claims/10.76.0.0_24")).unwrap();
    // A FIFO must not make the store wait for a writer, nor a link to nowhere or to a device feed it for ever.
    let fifo = dir.path().join("claims/10.78.0.0_24");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o644), 0).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("claims/10.79.0.0_24")).unwrap();
    for (name, _) in &files {
        let path = dir.path().join(name.replace("phases/../", ""));
        let name = path.display().to_string();
        one.wait(&format!("a word on {name}"), |event| matches!(event, Event::Warn(words) if words.starts_with(&name)));
    }
    let third: Vec<_> = [70, 71, 72, 73, 75, 76, 78, 79].map(|n| format!("10.{n}.0.0/24").parse().unwrap()).into();
    for store in [&one, &Told::start(dir.path(), "n2")] {
        store.wait_state("taken by nobody", |state| third.iter().all(|cidr| state.quarantined.contains(cidr)));
        for cidr in ["10.70.0.0/24", "10.75.0.0/24", "10.76.0.0/24", "10.79.0.0/24"] {
            assert_eq!(store.ask(Command::Create(store.claim(cidr))), Ok(Outcome::Taken), "{cidr}");
        }
    }
    let now = one.state();
    assert_eq!((&now.claims, &now.phases), (&before.claims, &before.phases));
    assert_eq!((&now.digest, &now.wish), (&None, &None));
    // Each is said once, also by the list that comes every now and then.
    let warned = one.ear.all().into_iter().filter(|event| matches!(event, Event::Warn(_)));
    let warned: Vec<_> = warned.map(|event| format!("{event:?}")).collect();
    let mut distinct = warned.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), warned.len(), "said twice: {warned:#?}");
    // Mended ones count at once.
    let mended = claim("10.70.0.0/24", "n7");
    fs::write(dir.path().join("claims/10.70.0.0_24"), serde_json::to_vec(&mended).unwrap()).unwrap();
    one.wait_state("the mended claim", |state| {
        state.claims.get(&mended.pod_cidr) == Some(&mended) && !state.quarantined.contains(&mended.pod_cidr)
    });
    assert_eq!(one.ask(Command::Wish(Some(wish(1, "n1")))), Ok(Outcome::Done), "over one that cannot be read");
}

#[test]
fn a_file_that_is_being_written_by_hand_is_no_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let one = Told::start(dir.path(), "n1");
    let slow = claim("10.1.0.0/24", "n2");
    let text = serde_json::to_string(&slow).unwrap();
    let path = dir.path().join("claims").join(file_of("10.1.0.0/24"));
    fs::write(&path, &text[..40]).unwrap();
    one.wait_state("a taken pod CIDR", |state| state.quarantined.contains(&slow.pod_cidr));
    fs::write(&path, &text).unwrap();
    one.wait_state("the claim", |state| state.claims.get(&slow.pod_cidr) == Some(&slow));
    std::thread::sleep(Duration::from_millis(700));
    assert!(!one.ear.all().iter().any(|event| matches!(event, Event::Warn(_))), "{:?}", one.ear.all());
}

#[test]
fn overlapping_claims_of_a_backup_are_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(Told::start(dir.path(), "n1"));
    for (cidr, node) in [("10.1.0.0/16", "n2"), ("10.1.7.0/24", "n3"), ("10.2.0.0/24", "n4")] {
        let file = dir.path().join("claims").join(file_of(cidr));
        fs::write(file, serde_json::to_vec(&claim(cidr, node)).unwrap()).unwrap();
    }
    let one = Told::start(dir.path(), "n1");
    let Event::Warn(words) = one.wait("a word", |event| matches!(event, Event::Warn(_))) else { panic!() };
    for part in ["10.1.0.0/16", "n2", "10.1.7.0/24", "n3"] {
        assert!(words.contains(part), "{words}");
    }
}

/// Runs in a user namespace that may have no inotify instance at all.
#[test]
fn without_inotify_it_looks_every_second() {
    const CHILD: &str = "BIPLANE_TEST_NO_INOTIFY";
    if std::env::var_os(CHILD).is_none() {
        let test = std::env::current_exe().unwrap();
        let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" --exact without_inotify_it_looks_every_second";
        let mut command = process::Command::new("unshare");
        let command = command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(test).env(CHILD, "1");
        let output = command.output().expect("unshare runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let one = Told::start(dir.path(), "n1");
    let two = Told::start(dir.path(), "n2");
    let Event::Warn(words) = one.wait("a word", |event| matches!(event, Event::Warn(_))) else { panic!() };
    assert!(words.contains("fs.inotify.max_user_instances"), "{words}");
    assert_eq!(two.ask(Command::Create(two.claim("10.1.0.0/24"))), Ok(Outcome::Done));
    one.wait_state("the other's claim", |state| state.claims.len() == 1);
    assert_eq!(one.ask(Command::Create(one.claim("10.1.0.0/24"))), Ok(Outcome::Taken));
}
