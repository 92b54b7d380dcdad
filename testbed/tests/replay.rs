//! Tables through a real daemon into a real kernel, by `biplane lab replay`: generated, and from MRT files. Needs root and
//! `biplaned` (`BIPLANE_BIN_DIR`); without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

const LAB: &str = env!("CARGO_BIN_EXE_biplane-lab");

/// The rows of the table that it prints, by their first word.
type Rows = BTreeMap<String, Vec<String>>;

fn replay(words: &[&str]) -> Output {
    Command::new(LAB).arg("replay").args(words).output().unwrap()
}

fn good(words: &[&str]) -> Rows {
    let output = replay(words);
    let (out, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "replay {words:?}: {complaint}\n{out}");
    let cells =
        |line: &str| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
    out.lines().skip(1).map(cells).map(|row: Vec<String>| (row[0].clone(), row[1..].to_vec())).collect()
}

/// IPv4 routes, IPv6 routes and refused prefixes of a row.
fn counts(rows: &Rows, name: &str) -> [u32; 3] {
    let row = rows.get(name).unwrap_or_else(|| panic!("no row {name}: {rows:?}"));
    [1, 2, 3].map(|at| row[at].replace(',', "").parse().unwrap())
}

#[test]
fn a_table_goes_in_changes_and_goes_and_the_kernel_follows() {
    let rows = good(&["--prefixes", "20000", "--churn", "5000"]);
    let [v4, v6, refused] = counts(&rows, "load");
    assert_eq!(v4 + v6 + refused, 20_000);
    assert!(v6 > 1_500 && refused > 0, "some are IPv6, some have AS 0: {rows:?}");
    let [v4, v6, _] = counts(&rows, "churn");
    assert!((15_000..20_000).contains(&(v4 + v6)), "some were withdrawn: {rows:?}");
    assert_eq!(counts(&rows, "withdraw"), [0, 0, 0]);
}

#[test]
fn an_mrt_file_is_replayed_plain_and_packed() {
    let folder = tempfile::tempdir().unwrap();
    let plain = collector();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&plain).unwrap();
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bz2.write_all(&plain).unwrap();
    for (name, octets) in [("rib.mrt", plain), ("rib.mrt.gz", gz.finish().unwrap()), ("rib.bz2", bz2.finish().unwrap())]
    {
        let file = folder.path().join(name);
        std::fs::write(&file, octets).unwrap();
        let rows = good(&[file.to_str().unwrap(), "--churn", "50"]);
        // Peer 1 has the most: three IPv4 prefixes, of which one has AS 0, and one IPv6 prefix.
        assert_eq!(counts(&rows, "load"), [2, 1, 1], "{name}");
        // One went, one came, and the one with AS 0 was told again as it should be.
        assert_eq!(counts(&rows, "messages"), [3, 1, 0], "{name}");
        assert_eq!(counts(&rows, "withdraw"), [0, 0, 0], "{name}");
    }
}

#[test]
fn a_file_that_is_no_mrt_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "This is prose, and prose is no table.").unwrap();
    for (file, words) in [(file.as_path(), "no MRT file"), (Path::new("/nowhere/rib.mrt"), "No such file")] {
        let output = replay(&[file.to_str().unwrap()]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && complaint.contains(words), "{complaint}");
        assert!(complaint.contains(file.to_str().unwrap()), "{complaint}");
    }
}

/// A file as collectors write them: the peers, a table with routes of two of them (RFC 6396 section 4.3), messages (4.4).
fn collector() -> Vec<u8> {
    let mut all = record(13, 1, &peers());
    // Number of the peer, AS path.
    type Entry<'a> = (u16, &'a [u32]);
    // Prefix, entries.
    let table: [(&[u8], &[Entry<'_>]); 4] = [
        (&[24, 20, 1, 1], &[(0, &[64496, 3]), (1, &[64497, 70_000, 3])]),
        (&[22, 20, 1, 4], &[(1, &[64497, 4])]),
        (&[16, 20, 9], &[(1, &[64497, 0, 5])]),
        // Of the private ones, which nobody routes.
        (&[16, 10, 9], &[(0, &[64496])]),
    ];
    for (number, (prefix, entries)) in table.into_iter().enumerate() {
        all.extend(record(13, 2, &rib(number as u32, prefix, entries, &[])));
    }
    // In a table MP_REACH_NLRI is but the next hop.
    let hop = attribute(0x80, 14, &[&[16][..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[9]].concat());
    all.extend(record(13, 4, &rib(9, &[32, 0x2a, 0, 1, 1], &[(1, &[64497, 6])], &hop)));
    // Of another kind: a state change.
    all.extend(record(16, 5, &[0; 20]));
    all.extend(record(16, 4, &message(&[24, 20, 1, 1], &[64496, 3], &[])));
    // With microseconds in front.
    all.extend(record(17, 4, &[&[0, 0, 0, 7][..], &message(&[], &[64496, 8], &[24, 20, 7, 7, 16, 20, 9])].concat()));
    all
}

fn record(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[0x60, 0, 0, 0][..], &kind.to_be_bytes(), &subtype.to_be_bytes(), &length, body].concat()
}

/// PEER_INDEX_TABLE: two peers with IPv4 addresses and four-octet AS numbers.
fn peers() -> Vec<u8> {
    let mut body = vec![192, 0, 2, 9, 0, 0, 0, 2];
    for n in [1u8, 2] {
        body.extend([2, 192, 0, 2, n, 192, 0, 2, n]);
        body.extend((64495 + u32::from(n)).to_be_bytes());
    }
    body
}

fn rib(number: u32, prefix: &[u8], entries: &[(u16, &[u32])], more: &[u8]) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend_from_slice(prefix);
    body.extend((entries.len() as u16).to_be_bytes());
    for (peer, path) in entries {
        let attributes = [&attributes(path)[..], more].concat();
        body.extend(peer.to_be_bytes());
        body.extend([0x60, 0, 0, 0]);
        body.extend((attributes.len() as u16).to_be_bytes());
        body.extend(attributes);
    }
    body
}

/// ORIGIN, AS_PATH, NEXT_HOP, COMMUNITIES.
fn attributes(path: &[u32]) -> Vec<u8> {
    let mut segment = vec![2, path.len() as u8];
    path.iter().for_each(|asn| segment.extend(asn.to_be_bytes()));
    [
        attribute(0x40, 1, &[0]),
        attribute(0x40, 2, &segment),
        attribute(0x40, 3, &[192, 0, 2, 1]),
        attribute(0xc0, 8, &[0xfc, 0, 0, 7]),
    ]
    .concat()
}

fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, code, value.len() as u8][..], value].concat()
}

/// BGP4MP_MESSAGE_AS4 with an UPDATE.
fn message(withdrawn: &[u8], path: &[u32], announced: &[u8]) -> Vec<u8> {
    let list = if announced.is_empty() { Vec::new() } else { attributes(path) };
    let body =
        [&(withdrawn.len() as u16).to_be_bytes()[..], withdrawn, &(list.len() as u16).to_be_bytes(), &list, announced]
            .concat();
    let length = (19 + body.len() as u16).to_be_bytes();
    let ends = [&64496u32.to_be_bytes()[..], &64510u32.to_be_bytes(), &[0, 0, 0, 1], &[192, 0, 2, 1], &[192, 0, 2, 9]];
    [&ends.concat()[..], &[0xff; 16], &length, &[2], &body].concat()
}
