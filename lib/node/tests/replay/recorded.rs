//! Recordings of runs in labs with real routers, kept in the repository.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use node::record::replay;

use super::blessed;

/// Runs of labs with FRR, BIRD and GoBGP: both planes and the way between, several ways of meeting, daemons that were ended,
/// killed and frozen. `make recordings` keeps them; with `BIPLANE_BLESS` what today's core does is taken for right.
fn recordings() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "gz"));
    files.sort();
    let read = |file: PathBuf| {
        let mut bytes = Vec::new();
        GzDecoder::new(fs::File::open(&file).unwrap()).read_to_end(&mut bytes).unwrap();
        (file, bytes)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn recorded_runs_of_real_routers_have_the_same_effects() {
    let bless = std::env::var_os("BIPLANE_BLESS").is_some();
    let recordings = recordings();
    assert!(recordings.len() >= 10, "{} recordings", recordings.len());
    let mut others = Vec::new();
    for (file, bytes) in &recordings {
        let name = file.file_name().unwrap().to_string_lossy();
        match replay(BufReader::new(&bytes[..])).unwrap_or_else(|error| panic!("{name}: {error}")) {
            (steps, None) => assert!(steps > 50, "{name} has {steps} steps"),
            _ if bless => {
                let mut zip = GzEncoder::new(Vec::new(), Compression::best());
                zip.write_all(&blessed(bytes)).unwrap();
                fs::write(file, zip.finish().unwrap()).unwrap();
            }
            (steps, Some(other)) => others.push(format!(
                "{name}, step {} (the {steps} before it are the same)\n  the run: {:?}\n  now:     {:?}",
                other.step, other.missing, other.new
            )),
        }
    }
    let cure = "if that is as it should be: make recordings BLESS=1";
    assert!(
        others.is_empty(),
        "{} of {} runs go another way; {cure}\n{}",
        others.len(),
        recordings.len(),
        others.join("\n")
    );
}

/// Every effect counts: each one of a recording that is changed is noticed at its step.
#[test]
fn a_changed_effect_anywhere_in_a_recorded_run_is_noticed() {
    let (_, bytes) = recordings().swap_remove(0);
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let steps: Vec<usize> = (1..lines.len()).filter(|at| !lines[*at].contains("\"effects\":[]")).collect();
    assert!(steps.len() > 20);
    for at in steps.iter().copied().step_by(steps.len().div_ceil(20)) {
        let mut step: serde_json::Value = serde_json::from_str(lines[at]).unwrap();
        let effects = step["effects"].as_array_mut().unwrap();
        effects.pop();
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        changed[at] = step.to_string();
        let (_, other) = replay((changed.join("\n") + "\n").as_bytes()).unwrap();
        assert_eq!(other.map(|other| other.step), Some(at), "the effect taken out of line {}", at + 1);
    }
}
