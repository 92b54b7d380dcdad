//! What the machine itself drops: told apart from what the path loses.

use std::fs;

use crate::report::HostDrops;

/// The kernel's counters when the prober started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Baseline(HostDrops);

impl Baseline {
    pub(super) fn read() -> Baseline {
        Baseline(counters())
    }

    pub(super) fn since(&self) -> HostDrops {
        let now = counters();
        HostDrops {
            socket_buffer: now.socket_buffer.saturating_sub(self.0.socket_buffer),
            backlog: now.backlog.saturating_sub(self.0.backlog),
            foreign: 0,
        }
    }
}

fn counters() -> HostDrops {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    HostDrops {
        socket_buffer: snmp_errors(&read("/proc/net/snmp")) + snmp6_errors(&read("/proc/net/snmp6")),
        backlog: softnet_drops(&read("/proc/net/softnet_stat")),
        foreign: 0,
    }
}

/// Two lines begin with `Udp:`; the first names the columns of the second.
fn snmp_errors(text: &str) -> u64 {
    let mut lines = text.lines().filter(|l| l.starts_with("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "RcvbufErrors")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0)
}

fn snmp6_errors(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("Udp6RcvbufErrors"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// One line per processor, hexadecimal; the second column is packets dropped because the backlog was full.
fn softnet_drops(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter_map(|value| u64::from_str_radix(value, 16).ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_columns_that_the_kernel_names() {
        let snmp =
            "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 8 7 6 5\n";
        assert_eq!(snmp_errors(snmp), 5);
        assert_eq!(snmp_errors(""), 0);
        assert_eq!(snmp6_errors("Udp6InErrors   \t3\nUdp6RcvbufErrors                \t12\n"), 12);
        assert_eq!(softnet_drops("0000ffff 0000000a 00000000\n00000001 00000001 0\n"), 11);
    }

    #[test]
    fn this_kernel_has_the_columns() {
        let snmp = fs::read_to_string("/proc/net/snmp").unwrap();
        assert!(snmp.contains(" RcvbufErrors "), "{snmp}");
        assert!(fs::read_to_string("/proc/net/softnet_stat").unwrap().split_whitespace().count() > 2);
    }
}
