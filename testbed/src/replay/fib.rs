//! What the kernel of a namespace holds, read from /proc: a million lines in a moment, without any help of the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use model::Prefix;

use super::table::Gateway;
use crate::bench::space::Program;

/// Routes through one of the gateways, each once; a prefix that is there twice is an error.
pub(super) fn read(program: &Program, gateways: &[(Ipv4Addr, Ipv6Addr); 2]) -> Result<BTreeMap<Prefix, Gateway>> {
    let mut found = BTreeMap::new();
    let mut add = |prefix: Option<Prefix>, gateway: IpAddr| -> Result<()> {
        let is = |(v4, v6): &(Ipv4Addr, Ipv6Addr)| gateway == IpAddr::V4(*v4) || gateway == IpAddr::V6(*v6);
        if let (Some(prefix), Some(number)) = (prefix, gateways.iter().position(is))
            && found.insert(prefix, number).is_some()
        {
            anyhow::bail!("the kernel has {prefix} twice");
        }
        Ok(())
    };
    for route in program.routes()? {
        let len = route.mask.leading_ones() as u8;
        add(Prefix::new(Ipv4Addr::from(route.network).into(), len), Ipv4Addr::from(route.gateway).into())?;
    }
    for line in fs::read_to_string(format!("/proc/{}/net/ipv6_route", program.pid()))?.lines() {
        if let Some((prefix, gateway)) = ipv6(line) {
            add(Some(prefix), gateway.into())?;
        }
    }
    Ok(found)
}

/// One line of /proc/net/ipv6_route: destination, its length, source, its length, next hop, and more.
fn ipv6(line: &str) -> Option<(Prefix, Ipv6Addr)> {
    let mut words = line.split_ascii_whitespace();
    let address = |word: &str| u128::from_str_radix(word, 16).ok().map(Ipv6Addr::from);
    let network = address(words.next()?)?;
    let len = u8::from_str_radix(words.next()?, 16).ok()?;
    let gateway = address(words.nth(2)?)?;
    Some((Prefix::new(network.into(), len)?, gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table() {
        let line = "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 fd550000000000000000000000000002 0000049a 00000001 00000000 00000003      up0";
        let (prefix, gateway) = ipv6(line).unwrap();
        assert_eq!((prefix.to_string().as_str(), gateway), ("2001:db8::/32", "fd55::2".parse().unwrap()));
    }
}
