//! Whose VXLAN frames are taken: the table in the kernel's nftables, altered, lost, repaired, and left alone when it is not
//! ours. What it does to packets is in `vxlan.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod netns;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use kernel::Event;
use model::kernel::{Key, Value, VtepFilter};
use model::{Owner, Vni};
use netns::*;

fn vtep(address: &str) -> (Key, Value) {
    (Key::Vtep(address.parse().unwrap()), Value::There)
}

fn filter(vni: u32, port: u16) -> (Key, Value) {
    (Key::VtepFilter, Value::VtepFilter(VtepFilter { vni: Vni::new(vni).unwrap(), port }))
}

/// As the reconciler makes it: the table, who is let in, the filter.
fn usual() -> Vec<(Key, Value)> {
    vec![(Key::VtepTable, Value::There), vtep("192.0.2.2"), vtep("192.0.2.3"), vtep("2001:db8::2"), filter(178, 4789)]
}

/// What a daemon that just started finds of it.
fn all() -> Vec<(Key, Value)> {
    let is_ours = |key: &Key| matches!(key, Key::VtepTable | Key::Vtep(_) | Key::VtepFilter);
    read(&mut open()).ours.into_iter().filter(|(key, _)| is_ours(key)).collect()
}

fn nft(script: &str) {
    let output = Command::new("nft").arg(script).output().unwrap();
    assert!(output.status.success(), "nft {script}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_written_is_found_again_and_shown_by_nft() {
    fresh(|| {
        let mut kernel = open();
        done(&mut kernel, create(usual()));
        assert_eq!(all(), usual());
        let shown = run("nft list ruleset");
        for words in [
            "table inet biplane.vteps {",
            "comment \"written by biplaned\"",
            "elements = { 192.0.2.2, 192.0.2.3 }",
            "elements = { 2001:db8::2 }",
            "type filter hook input priority filter; policy accept;",
            "type filter hook forward priority filter; policy accept;",
            "udp dport 4789",
            "@th,96,24",
            "ip saddr @vtep4 return",
            "ip6 saddr @vtep6 return",
            "iifname \"biplane*\"",
            "ip saddr != @vtep4",
        ] {
            assert!(shown.contains(words), "no `{words}` in:\n{shown}");
        }
        // Exclusive, as all that is made.
        for (key, value) in [usual().remove(0), filter(178, 4789)] {
            assert_eq!(refused(&mut kernel, create([(key, value)])).errno, libc::EEXIST);
        }
        done(&mut kernel, replace(filter(5, 8472)));
        assert_eq!(found(&Key::VtepFilter), Some(filter(5, 8472).1));
        assert_eq!(all().len(), usual().len(), "nobody is shut out by that");

        // There already, gone already: as wished.
        done(&mut kernel, create([vtep("192.0.2.2"), vtep("192.0.2.9")]));
        let gone =
            ["192.0.2.9", "192.0.2.77", "192.0.2.3"].map(|address| model::kernel::Write::Delete(vtep(address).0));
        done(&mut kernel, gone.into());
        let left = [usual().remove(0), vtep("192.0.2.2"), vtep("2001:db8::2"), filter(5, 8472)];
        assert_eq!(all(), left);
        done(&mut kernel, delete(Key::VtepFilter));
        done(&mut kernel, delete(Key::VtepFilter));
        assert_eq!(all(), left[..3]);
        done(&mut kernel, delete(Key::VtepTable));
        done(&mut kernel, delete(Key::VtepTable));
        assert_eq!(run("nft list ruleset"), "");
        assert_eq!(refused(&mut kernel, create([filter(1, 1)])).errno, libc::ENOENT);
    });
}

#[test]
fn whatever_is_altered_is_seen_and_written_anew() {
    fresh(|| {
        let mut kernel = open();
        let table = format!("inet {}", Owner::NFT_VTEP_TABLE);
        for alteration in [
            "flush chain TABLE input",
            "insert rule TABLE input accept",
            "add rule TABLE input accept",
            "add rule TABLE forward accept",
            "delete chain TABLE forward",
            "flush chain TABLE input; delete chain TABLE input; add chain TABLE input { type filter hook input priority 7; }",
            "add chain TABLE mine",
            "add set TABLE mine { type ipv4_addr; }",
            "add table TABLE { flags dormant; }",
            "flush chain TABLE input; flush chain TABLE forward; delete chain TABLE input; delete chain TABLE forward; \
             delete set TABLE vtep4; add set TABLE vtep4 { type ipv4_addr; flags interval; }",
        ] {
            done(&mut kernel, create(usual()));
            nft(&alteration.replace("TABLE", &table));
            let seen = all();
            let other = |key: &Key| seen.iter().any(|(k, value)| k == key && matches!(value, Value::OtherTable(_)));
            assert!(other(&Key::VtepTable) || other(&Key::VtepFilter), "after `{alteration}`: {seen:?}");
            // As the reconciler does: what differs is replaced, then what is missing is made.
            for key in [Key::VtepTable, Key::VtepFilter] {
                let there = all();
                let Some((_, value)) = there.iter().find(|(k, _)| *k == key) else { continue };
                let wanted = usual().into_iter().find(|(k, _)| *k == key).unwrap();
                if *value != wanted.1 {
                    done(&mut kernel, replace(wanted));
                }
            }
            let there = all();
            let missing = usual().into_iter().filter(|(key, _)| !there.iter().any(|(k, _)| k == key));
            done(&mut kernel, create(missing));
            assert_eq!(all(), usual(), "after `{alteration}`");
            done(&mut kernel, delete(Key::VtepTable));
        }
    });
}

#[test]
fn changes_of_others_are_told_and_our_own_elements_are_not() {
    fresh(|| {
        let ear = worker();
        assert_eq!(ear.write(create(usual())), []);
        ear.until_quiet(Duration::from_millis(200));
        assert_eq!(ear.write(create([vtep("192.0.2.4")])), []);
        assert_eq!(ear.write(delete(vtep("192.0.2.4").0)), []);
        let told = ear.until_quiet(Duration::from_millis(200));
        assert!(!told.iter().any(|event| matches!(event, Event::Changed(..))), "{told:?}");

        nft("delete element inet biplane.vteps vtep4 { 192.0.2.2 }");
        ear.wait_changed(&vtep("192.0.2.2").0, None);
        nft("add element inet biplane.vteps vtep4 { 192.0.2.99 }");
        ear.wait_changed(&vtep("192.0.2.99").0, Some(&Value::There));
        nft("add element inet biplane.vteps vtep4 { 192.0.2.2 }");
        ear.wait_changed(&vtep("192.0.2.2").0, Some(&Value::There));
        nft("flush ruleset");
        ear.wait_changed(&vtep("192.0.2.99").0, None);
        assert_eq!(ear.write(create(usual())), []);
        assert_eq!(all(), usual());
    });
}

#[test]
fn somebody_elses_table_is_reported_and_left_alone() {
    fresh(|| {
        nft(
            "add table inet biplane.vteps; add chain inet biplane.vteps input; add rule inet biplane.vteps input accept",
        );
        let before = run("nft list ruleset");
        let mut kernel = open();
        assert!(foreign(&mut kernel, &Key::VtepTable).is_some());
        for write in
            [create([usual().remove(0)]), delete(Key::VtepTable), create([filter(1, 1)]), delete(Key::VtepFilter)]
        {
            let refusal = refused(&mut kernel, write);
            assert!(refusal.message.contains("nft delete table inet biplane.vteps"), "{refusal}");
        }
        assert_eq!(run("nft list ruleset"), before);
    });
}

#[test]
fn ten_thousand_nodes_come_in_few_transactions() {
    fresh(|| {
        let mut kernel = open();
        let address = |n: u32| Ipv4Addr::from(0x0a00_0000 + n);
        let nodes: Vec<(Key, Value)> =
            (1..=10_000).map(|n| (Key::Vtep(IpAddr::V4(address(n))), Value::There)).collect();
        done(&mut kernel, create([(Key::VtepTable, Value::There)]));
        let began = Instant::now();
        for batch in nodes.chunks(1024) {
            done(&mut kernel, create(batch.to_vec()));
        }
        let wrote = began.elapsed();
        done(&mut kernel, create([filter(178, 4789)]));
        assert_eq!(all().len(), 10_002);
        let read = began.elapsed() - wrote;
        println!("10,000 elements: written in {wrote:?}, all read in {read:?}");
        // Milliseconds; it took more than a minute when every element put all others into words.
        assert!(read < Duration::from_secs(5), "{read:?}");
        done(&mut kernel, nodes.into_iter().map(|(key, _)| model::kernel::Write::Delete(key)).collect());
        assert_eq!(all().len(), 2);
    });
}
