//! A table of many thousands, changed and withdrawn, and small MRT files, through a real daemon into a kernel. Needs root
//! and BIPLANE_BIN_DIR.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::Write;
use std::path::PathBuf;

use testbed::lab::{Interrupt, Settings};
use testbed::replay::{Plan, run, words};

/// Checklist: 40
#[test]
fn a_generated_table_comes_changes_and_goes() {
    let _turn = testbed::turn::take().unwrap();
    let plan = Plan { file: None, prefixes: 22_000, churn: 5_000 };
    let parts = run(&settings(), &plan, &Interrupt::default()).unwrap_or_else(|e| panic!("{e:#}"));
    println!("{}", words(&parts));
    let [load, churn, withdraw] = &parts[..] else { panic!("{} parts", parts.len()) };
    assert_eq!(load.routes.iter().sum::<usize>() + load.refused, 22_000);
    assert!(load.refused > 0 && churn.refused > load.refused, "AS 0 was announced, and must be refused");
    assert_eq!((withdraw.routes, withdraw.refused), ([0, 0], 0));
}

/// Checklist: 40
#[test]
fn mrt_files_plain_and_packed() {
    let _turn = testbed::turn::take().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let octets = file();
    let gz = {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&octets).unwrap();
        packer.finish().unwrap()
    };
    let bz2 = {
        let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        packer.write_all(&octets).unwrap();
        packer.finish().unwrap()
    };
    for (name, octets) in [("a.mrt", &octets), ("a.mrt.gz", &gz), ("a.mrt.bz2", &bz2)] {
        let path = folder.path().join(name);
        std::fs::write(&path, octets).unwrap();
        let plan = Plan { file: Some(path), prefixes: 0, churn: 0 };
        let parts = run(&settings(), &plan, &Interrupt::default()).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        println!("{name}\n{}", words(&parts));
        let seen: Vec<_> = parts.iter().map(|part| (part.name, part.routes, part.refused)).collect();
        // 20.0.1.0/24 has AS 0 on its path; then 20.0.2.0/24 goes, 20.0.3.0/24 moves, 20.0.9.0/24 and 2600:9::/48 come.
        assert_eq!(seen, [("load", [3, 2], 1), ("messages", [3, 3], 1), ("withdraw", [0, 0], 0)], "{name}");
    }
}

/// A table of two peers, of which the first has more, and one message.
fn file() -> Vec<u8> {
    let mut file = record(13, 1, &[1, 2, 3, 4, 0, 0, 0, 0]);
    let good =
        [&[0x40, 1, 1, 0, 0x40, 2, 10, 2, 2][..], &[0, 0, 0, 9, 0, 3, 0, 7], &[0x40, 3, 4, 192, 0, 2, 1]].concat();
    let zero =
        [&[0x40, 1, 1, 0, 0x40, 2, 10, 2, 2][..], &[0, 0, 0, 9, 0, 0, 0, 0], &[0x40, 3, 4, 192, 0, 2, 1]].concat();
    // In a RIB entry MP_REACH_NLRI is the next hop alone.
    let six = [&good[..19], &[0x80, 14, 17, 16], &[0x20; 16]].concat();
    let mut number = 0;
    let mut rib = |subtype, prefix: &[u8], peers: &[u16], attributes: &[u8]| {
        let mut body = u32::to_be_bytes(number).to_vec();
        number += 1;
        body.extend_from_slice(prefix);
        body.extend_from_slice(&(peers.len() as u16).to_be_bytes());
        for peer in peers {
            body.extend_from_slice(&peer.to_be_bytes());
            body.extend_from_slice(&[0; 4]);
            body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
            body.extend_from_slice(attributes);
        }
        record(13, subtype, &body)
    };
    file.extend(rib(2, &[24, 20, 0, 1], &[0], &zero));
    file.extend(rib(2, &[24, 20, 0, 2], &[0, 1], &good));
    file.extend(rib(2, &[24, 20, 0, 3], &[0], &good));
    file.extend(rib(2, &[8, 22], &[0], &good));
    // Nobody routes these.
    file.extend(rib(2, &[0], &[0], &good));
    file.extend(rib(2, &[8, 10], &[0], &good));
    file.extend(rib(4, &[32, 0x26, 0, 0, 1], &[0], &six));
    file.extend(rib(4, &[48, 0x26, 0, 0, 2, 0, 0], &[0], &six));
    let reach = [&[0, 2, 1, 16][..], &[0x20; 16], &[0, 48, 0x26, 0, 0, 9, 0, 0]].concat();
    let attributes = [&good[..], &[0x80, 14, reach.len() as u8], &reach].concat();
    let mut update = vec![0, 4, 24, 20, 0, 2];
    update.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    update.extend_from_slice(&attributes);
    update.extend_from_slice(&[24, 20, 0, 3, 24, 20, 0, 9]);
    let mut message = vec![0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 192, 0, 2, 1, 192, 0, 2, 2];
    message.extend_from_slice(&[0xff; 16]);
    message.extend_from_slice(&((19 + update.len()) as u16).to_be_bytes());
    message.push(2);
    message.extend_from_slice(&update);
    file.extend(record(16, 4, &message));
    file
}

fn record(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 4];
    record.extend_from_slice(&kind.to_be_bytes());
    record.extend_from_slice(&subtype.to_be_bytes());
    record.extend_from_slice(&(body.len() as u32).to_be_bytes());
    record.extend_from_slice(body);
    record
}

fn settings() -> Settings {
    let folder = std::env::var_os("BIPLANE_BIN_DIR").map(PathBuf::from);
    let folder = folder.expect("BIPLANE_BIN_DIR is not set: it names the folder that biplaned was built in");
    Settings {
        labs: Settings::LABS.into(),
        program: vec![env!("CARGO_BIN_EXE_biplane-lab").into()],
        path: vec![folder],
    }
}
