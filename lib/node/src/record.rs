//! Runs on file: every event that moved the core and the effects that came of it, one JSON object a line.
//!
//! The core has no clock and no I/O, so the events are the whole run: fed to a new core they give the same effects, and
//! a bug that was met in the field becomes a test. The first line, [`Head`], is what the core was made with; the others
//! are [`Step`]s. What it holds is what the daemon handles: addresses, names, BGP messages, its configuration. Keys of
//! TCP MD5 never come to the core, so they are in no recording.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use model::Moment;
use model::config::Config;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::Core;
use crate::event::{Effect, Event, Identity, KeyGenerations};

/// What a core is made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Form of the recording: [`Head::FORM`].
    pub form: u32,
    /// The daemon's monotonic clock when the core was made.
    pub at: Moment,
    /// Who the daemon was.
    pub identity: Identity,
    /// Its configuration.
    pub config: Config,
    /// Which keys there were.
    pub keys: KeyGenerations,
}

impl Head {
    /// The form that is written, and the only one that is read.
    pub const FORM: u32 = 1;

    /// A core as it was made.
    pub fn core(&self) -> Core {
        Core::new(self.at, self.identity.clone(), self.config.clone(), self.keys.clone())
    }
}

/// One event, and what the core wanted done about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The daemon's monotonic clock.
    pub at: Moment,
    /// What the core was told.
    pub event: Event,
    /// Its answer, in order; as JSON, so that a recording can be read when effects have another form by now.
    #[serde(default)]
    pub effects: Vec<Value>,
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W> {
    to: W,
}

impl Recorder<File> {
    /// A new file, readable by its owner alone.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    pub fn create(path: &Path, head: &Head) -> io::Result<Recorder<File>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Recorder::new(file, head)
    }
}

impl<W: Write> Recorder<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(to: W, head: &Head) -> io::Result<Recorder<W>> {
        let mut recorder = Recorder { to };
        recorder.line(head)?;
        Ok(recorder)
    }

    /// Tells the core, and writes down what it was told and what it answered: whole before any of it is done, so that
    /// the last line of a daemon that was killed is a whole one too.
    ///
    /// # Errors
    /// Those of writing, beside the effects: these hold in any case.
    pub fn handle(&mut self, core: &mut Core, now: Moment, event: Event) -> (Vec<Effect>, io::Result<()>) {
        // The event is gone once it is handled: its bytes are the connection's credit.
        let said = serde_json::to_value(&event);
        let effects = core.handle(now, event);
        let written = said.map_err(io::Error::from).and_then(|event| {
            let effects = effects.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
            self.line(&serde_json::json!({ "at": now, "event": event, "effects": effects }))
        });
        (effects, written)
    }

    fn line(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.to.write_all(&line)
    }
}

/// Reads a recording: its head, and its steps one by one. A last line that is cut off ends it.
///
/// # Errors
/// It cannot be read, or is no recording of a form that is known: which line, and why.
pub fn read(mut from: impl BufRead) -> Result<(Head, impl Iterator<Item = Result<Step, String>>), String> {
    let mut line = String::new();
    from.read_line(&mut line).map_err(|error| error.to_string())?;
    let form = serde_json::from_str::<Value>(&line).ok().and_then(|head| head.get("form").and_then(Value::as_u64));
    match form {
        Some(form) if form == u64::from(Head::FORM) => {}
        Some(form) => {
            return Err(format!("line 1: a recording of form {form}; this program reads form {}", Head::FORM));
        }
        None => return Err("line 1: not a recording of biplaned --record".to_owned()),
    }
    let head = serde_json::from_str(&line).and_then(|mut head: Value| {
        complete(&mut head);
        serde_json::from_value::<Head>(head)
    });
    let head = head.map_err(|error| format!("line 1: {error}"))?;
    let mut number = 1;
    let steps = std::iter::from_fn(move || {
        let mut line = String::new();
        number += 1;
        match from.read_line(&mut line) {
            Err(error) => Some(Err(format!("line {number}: {error}"))),
            Ok(_) if !line.ends_with('\n') => None,
            Ok(_) => {
                let step = serde_json::from_str(&line).and_then(|mut step: Value| {
                    if let Some(told) = step.pointer_mut("/event/config") {
                        complete(told);
                    }
                    serde_json::from_value(step)
                });
                Some(step.map_err(|error| format!("line {number}: {error}")))
            }
        }
    });
    Ok((head, steps))
}

/// A recording outlives the program that wrote it: keys of the configuration that came since have what is built in, and
/// an address that has a key of its own is a prefix by now.
fn complete(holder: &mut Value) {
    if let Some(keys) = holder.get_mut("keys").and_then(Value::as_object_mut) {
        *keys = std::mem::take(keys)
            .into_iter()
            .map(|(remote, generation)| match remote.parse::<std::net::IpAddr>() {
                Ok(address) => (model::Prefix::host(address).to_string(), generation),
                Err(_) => (remote, generation),
            })
            .collect();
    }
    if let Some(config) = holder.get_mut("config") {
        *config = config::completed(config);
    }
}

/// Where a replay went another way than the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The step, counted from 1.
    pub step: usize,
    /// What the run did and the replay does not, and the other way round, as JSON, one effect each.
    pub missing: Vec<String>,
    /// Effects of the replay that the run did not have.
    pub new: Vec<String>,
}

/// Feeds a recording to a new core and compares effects; ends at the first difference. The number of steps that were
/// equal comes back in any case.
///
/// # Errors
/// As [`read`].
pub fn replay(from: impl BufRead) -> Result<(usize, Option<Divergence>), String> {
    let (head, steps) = read(from)?;
    let mut core = head.core();
    let mut equal = 0;
    for step in steps {
        let step = step?;
        let effects = core.handle(step.at, step.event).iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
        let effects = effects.map_err(|error| format!("step {}: {error}", equal + 1))?;
        if effects != step.effects {
            let only = |these: &[Value], those: &[Value]| -> Vec<String> {
                these.iter().filter(|e| !those.contains(e)).map(Value::to_string).collect()
            };
            let (missing, new) = (only(&step.effects, &effects), only(&effects, &step.effects));
            return Ok((equal, Some(Divergence { step: equal + 1, missing, new })));
        }
        equal += 1;
    }
    Ok((equal, None))
}
