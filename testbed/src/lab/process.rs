//! Processes by PID *and* start time: a number that the kernel gave to somebody else is not ours to end.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// One process, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// In the machine's first PID namespace, or in that of whoever runs the lab.
    pub pid: u32,
    /// Clock ticks after boot: field 22 of /proc/PID/stat.
    pub started: u64,
}

impl Process {
    /// The process that has `pid` now.
    pub fn of(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Process { pid, started: stat_field(&stat, 22)?.parse().ok()? })
    }

    /// It still runs: neither gone, nor replaced, nor a zombie.
    pub fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat_field(&stat, 22).is_some_and(|s| s.parse() == Ok(self.started))
            && stat_field(&stat, 3).is_some_and(|state| !matches!(state, "Z" | "X"))
    }

    /// Ends it without asking, and waits until it is gone.
    pub fn end(&self) -> io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.is_alive() {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("process {} does not end", self.pid)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// All processes with `--at PATH` among their arguments where `PATH` is `folder` or below: the keepers of a lab, and the
/// programs that are about to become keepers.
pub fn working_at(folder: &Path) -> Vec<Process> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = arguments.split(|b| *b == 0).collect();
            words.windows(2).any(|pair| {
                pair[0] == b"--at" && std::str::from_utf8(pair[1]).is_ok_and(|path| Path::new(path).starts_with(folder))
            })
        })
        .filter_map(Process::of)
        .collect()
}

/// Fields are counted from 1; the second is in parentheses and may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(stat_field(stat, 3), Some("S"));
        assert_eq!(stat_field(stat, 22), Some("4711"));
    }

    #[test]
    fn another_start_time_is_another_process() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let other = Process { started: process.started + 1, ..process };
        assert!(process.is_alive() && !other.is_alive());
        other.end().unwrap();
        assert!(process.is_alive(), "ending another one must not touch it");
        process.end().unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }

    #[test]
    fn only_arguments_below_the_folder_count() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("nodes/a");
        let beside = folder.path().with_extension("other");
        // `read` waits for input that never comes; nothing is left behind when the shell is ended.
        let start = |path: &Path| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "read line", "sh", "--at"]).arg(path).stdin(std::process::Stdio::piped()).spawn().unwrap()
        };
        let mut children = [start(&below), start(&beside)];
        let found = crate::lab::poll(Duration::from_secs(5), &crate::lab::Interrupt::default(), || {
            // Both have become shells once the second is seen from its own folder.
            (!working_at(&beside).is_empty()).then(|| working_at(folder.path()))
        });
        let found: Vec<u32> = found.unwrap_or_default().iter().map(|p| p.pid).collect();
        assert_eq!(found, [children[0].id()]);
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
