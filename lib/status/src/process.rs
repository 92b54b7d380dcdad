//! The daemon's own use of the machine, from proc(5).

use std::fs;

/// Ticks a second of the times in `/proc/<pid>/stat`: USER_HZ, 100 on every architecture that Linux's glibc and musl
/// ports of Rust know.
const USER_HZ: f64 = 100.0;

/// What Prometheus's client libraries report of a process. A field that cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// User and system time, seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Open files.
    pub(crate) open_fds: Option<f64>,
    /// Most open files (soft limit).
    pub(crate) max_fds: Option<f64>,
    /// Virtual memory, bytes.
    pub(crate) virtual_memory: Option<f64>,
    /// Resident memory, bytes.
    pub(crate) resident_memory: Option<f64>,
    /// When it started, UNIX time.
    pub(crate) start_time: Option<f64>,
    /// Threads.
    pub(crate) threads: Option<f64>,
}

impl Process {
    /// Reads this process.
    pub(crate) fn read() -> Process {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut process = Process::parse(
            &text("/proc/self/stat"),
            &text("/proc/self/status"),
            &text("/proc/self/limits"),
            &text("/proc/stat"),
        );
        // The directory handle that counts them is one of them.
        process.open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count().saturating_sub(1)) as f64);
        process
    }

    fn parse(stat: &str, status: &str, limits: &str, system: &str) -> Process {
        // The second field is the program's name in parentheses and may hold anything; the third follows the last one.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
        let field = |number: usize| -> Option<f64> { fields.get(number - 3)?.parse().ok() };
        let kilobytes = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let number: f64 = line.trim_start_matches(':').trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(number * 1024.0)
        };
        let boot: Option<f64> =
            system.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|time| time.trim().parse().ok());
        let soft_limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Process {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / USER_HZ),
            open_fds: None,
            max_fds: soft_limit.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()),
            virtual_memory: kilobytes("VmSize"),
            resident_memory: kilobytes("VmRSS"),
            start_time: boot.zip(field(22)).map(|(boot, ticks)| boot + ticks / USER_HZ),
            threads: field(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let stat = "42 (bi) plane d) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 1000 123456 789 1";
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let limits =
            "Limit   Soft  Hard Units\nMax open files            1024                 524288               files\n";
        let process = Process::parse(stat, status, limits, "cpu 1 2\nbtime 1700000000\n");
        assert_eq!(
            process,
            Process {
                cpu_seconds: Some(2.0),
                open_fds: None,
                max_fds: Some(1024.0),
                virtual_memory: Some(2_097_152.0),
                resident_memory: Some(1_048_576.0),
                start_time: Some(1_700_000_010.0),
                threads: Some(7.0),
            }
        );
    }

    #[test]
    fn this_process_has_all_of_them() {
        let p = Process::read();
        let all = [p.cpu_seconds, p.open_fds, p.max_fds, p.virtual_memory, p.resident_memory, p.start_time, p.threads];
        assert!(all.iter().all(Option::is_some), "{p:?}");
        assert!(p.threads >= Some(1.0) && p.open_fds >= Some(3.0) && p.resident_memory > Some(100_000.0), "{p:?}");
    }

    #[test]
    fn nothing_readable_is_nothing() {
        assert_eq!(Process::parse("", "", "", ""), Process::default());
    }
}
