//! The generalised TTL security mechanism (RFC 5082) before there is a connection: a classic BPF program on a listening
//! socket drops what comes from a guarded remote with too low a TTL, so that a forged SYN makes no state and gets no
//! answer. `IP_MINTTL`, the option for it, knows a single value for all remotes of a socket; it takes over once a
//! connection is accepted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Family, Prefix};
use socket2::SockFilter;

use crate::event::Remote;

/// `BPF_MAXINSNS`.
const MOST: usize = 4096;
/// `SKF_NET_OFF`: offsets from here on count from the IP header.
const NETWORK: u32 = 0xfff0_0000;

// Instructions (linux/bpf_common.h): class, size, mode or operation, source.
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Returned: all of the packet, or nothing of it.
const TAKE: u32 = u32::MAX;
const DROP: u32 = 0;

/// Program for the listening socket of a family; `None` if nobody of it is guarded. Remotes that do not fit into a
/// program, some 500, are left to the guard of the accepted connection.
pub(crate) fn program(family: Family, remotes: &[Remote]) -> Option<Vec<SockFilter>> {
    // Two link-local remotes may have one address: what either of them takes passes.
    let mut least: BTreeMap<Prefix, u8> = BTreeMap::new();
    for remote in remotes.iter().filter(|remote| remote.prefix.family() == family) {
        let own = remote.transport.least_ttl.unwrap_or(0);
        least.entry(remote.prefix).and_modify(|known| *known = own.min(*known)).or_insert(own);
    }
    let guarded: Vec<Prefix> = least.iter().filter(|(_, least)| **least > 0).map(|(prefix, _)| *prefix).collect();
    if guarded.is_empty() {
        return None;
    }
    // An unguarded one only matters inside a guarded one.
    least.retain(|prefix, least| *least > 0 || guarded.iter().any(|guarded| guarded.covers(prefix)));
    let mut rules: Vec<(Prefix, u8)> = least.into_iter().collect();
    rules.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    let mut program = Vec::new();
    for (prefix, least) in rules {
        let rule = rule(&prefix, least);
        if program.len() + rule.len() < MOST {
            program.extend(rule);
        }
    }
    program.push(SockFilter::new(RETURN, 0, 0, TAKE));
    Some(program)
}

/// Decides about packets from `prefix`; others go on behind it.
fn rule(prefix: &Prefix, least: u8) -> Vec<SockFilter> {
    // Where source address and TTL lie in the header.
    let (source, ttl, octets) = match prefix.address() {
        IpAddr::V4(v4) => (12, 8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (8, 7, v6.octets().to_vec()),
    };
    let verdict = [
        SockFilter::new(LOAD_BYTE, 0, 0, NETWORK + ttl),
        SockFilter::new(JUMP_AT_LEAST, 0, 1, u32::from(least)),
        SockFilter::new(RETURN, 0, 0, TAKE),
        SockFilter::new(RETURN, 0, 0, DROP),
    ];
    // Built from behind, so that it is known how far the next rule is.
    let mut rule: Vec<SockFilter> = verdict.into_iter().rev().collect();
    let words: Vec<u32> =
        octets.chunks_exact(4).map(|word| word.iter().fold(0, |all, octet| all << 8 | u32::from(*octet))).collect();
    for (at, word) in words.iter().enumerate().rev() {
        let bits = u32::from(prefix.len()).saturating_sub(32 * at as u32).min(32);
        if bits == 0 {
            continue;
        }
        // A rule has 16 instructions at most.
        rule.push(SockFilter::new(JUMP_EQUAL, 0, rule.len() as u8, *word));
        if bits < 32 {
            rule.push(SockFilter::new(AND, 0, 0, u32::MAX << (32 - bits)));
        }
        rule.push(SockFilter::new(LOAD_WORD, 0, 0, NETWORK + source + 4 * at as u32));
    }
    rule.reverse();
    rule
}
