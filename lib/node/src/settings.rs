//! Configuration files, environment and flags, read from this machine; what they mean is `config`'s business.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use config::{Loaded, Source, Text};
use model::config::{BgpSessionConfig, Config};
use model::{NodeName, Prefix};
use peering::{Auth, Key, KeyError, Keychain};

use crate::event::KeyGenerations;

/// Where settings come from, lowest first: file, `conf.d` beside it, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The main file; `-` is the standard input, without `conf.d`.
    pub file: PathBuf,
    /// Variables that begin with `BIPLANE_`, name and value.
    pub environment: Vec<(String, String)>,
    /// `key=value` flags, keys dotted as in `bgp.localAsn`.
    pub flags: Vec<(String, String)>,
}

impl Settings {
    /// Where the daemon's configuration is unless it is told otherwise.
    pub const FILE: &str = "/etc/biplane/config.yaml";

    /// A file with this process's environment.
    pub fn of(file: impl Into<PathBuf>) -> Settings {
        Settings { file: file.into(), environment: Settings::environment(), flags: Vec::new() }
    }

    /// Variables of this process that speak of the configuration.
    pub fn environment() -> Vec<(String, String)> {
        let mut found: Vec<_> = std::env::vars().filter(|(name, _)| name.starts_with("BIPLANE_")).collect();
        found.sort();
        found
    }

    /// Reads all layers.
    ///
    /// # Errors
    /// In words, with the path: a file that cannot be read.
    pub fn sources(&self) -> Result<Vec<Source>, String> {
        let mut sources = Vec::new();
        if self.file == Path::new("-") {
            let text =
                io::read_to_string(io::stdin()).map_err(|error| format!("cannot read the standard input: {error}"))?;
            sources.push(Source { name: "standard input".to_owned(), text: Text::Yaml(text) });
        }
        for path in self.files().map_err(|error| cannot_read(&self.file, &error))? {
            let text = fs::read_to_string(&path).map_err(|error| cannot_read(&path, &error))?;
            sources.push(Source { name: path.display().to_string(), text: Text::Yaml(text) });
        }
        if !self.environment.is_empty() {
            let pairs = Text::Pairs(self.environment.clone());
            sources.push(Source { name: "environment".to_owned(), text: pairs });
        }
        for (key, value) in &self.flags {
            let pairs = Text::Pairs(vec![(key.clone(), value.clone())]);
            sources.push(Source { name: format!("flag --set {key}"), text: pairs });
        }
        Ok(sources)
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// In words, with the place of each mistake.
    pub fn load(&self) -> Result<Loaded, String> {
        config::load(&self.sources()?).map_err(|errors| errors.to_string())
    }

    /// The main file, then `conf.d/*.yaml` beside it by name.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        if self.file == Path::new("-") {
            return Ok(Vec::new());
        }
        let mut files = vec![self.file.clone()];
        let folder = self.file.parent().unwrap_or(Path::new(".")).join("conf.d");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(files);
            }
            Err(error) => return Err(error),
        };
        let mut more = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                more.push(path);
            }
        }
        more.sort();
        files.extend(more);
        Ok(files)
    }

    /// Changes when a file of the settings, or a key file named in them, was written, replaced or removed.
    pub fn fingerprint(&self, config: &Config) -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
        let mut files = self.files().unwrap_or_else(|_| vec![self.file.clone()]);
        files
            .extend(sessions(config).flat_map(|(_, said)| [&said.password_file, &said.tcp_ao_file]).flatten().cloned());
        let stamp = |path: &PathBuf| {
            let data = fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        files.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::NotFound => {
            "; name another file, or write this one: the smallest says `mode: vxlan` and `pools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]`"
        }
        io::ErrorKind::PermissionDenied => "; run as root, or give the file to this user",
        io::ErrorKind::InvalidData => "; expected UTF-8",
        _ => "",
    };
    format!("cannot read {}: {error}{cure}", path.display())
}

/// What is said of sessions, and with whom.
fn sessions(config: &Config) -> impl Iterator<Item = (Prefix, &BgpSessionConfig)> {
    let peers = config.bgp.peers.iter().filter_map(|peer| Some((Prefix::host(peer.address?), &peer.session)));
    peers.chain(config.bgp.listen.iter().map(|range| (range.range, &range.session)))
}

/// What the files of a session hold, if it has one; what cannot follow what was there before is an error, too.
fn read_auth(said: &BgpSessionConfig, before: Option<&Auth>) -> Option<Result<Auth, KeyError>> {
    if let Some(path) = &said.password_file {
        return Some(Key::read(path).map(Auth::Md5));
    }
    let chain = Keychain::read(said.tcp_ao_file.as_ref()?);
    Some(chain.and_then(|chain| {
        if let Some(Auth::Ao(before)) = before {
            chain.follows(before)?;
        }
        Ok(Auth::Ao(chain))
    }))
}

/// A peer or a range of peers, as the configuration names it.
fn named(remotes: &Prefix) -> String {
    match remotes.len() == remotes.family().bits() {
        true => format!("peer {}", remotes.address()),
        false => format!("range {remotes}"),
    }
}

/// Keys of TCP MD5 and TCP-AO by peer address or range, and a number for each that changes when the key does.
#[derive(Default)]
pub struct Keys {
    keys: BTreeMap<Prefix, Auth>,
    generations: KeyGenerations,
    last: u64,
}

impl Keys {
    /// Reads the key files of all peers and ranges. A key that cannot be read keeps the one that was read before; a peer
    /// that never had one must not be spoken to without it, so the first read fails.
    ///
    /// # Errors
    /// In words: which file of which peer, and why.
    pub fn read(&mut self, config: &Config) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        let mut keys = BTreeMap::new();
        for (remotes, session) in sessions(config) {
            let before = self.keys.get(&remotes);
            let Some(read) = read_auth(session, before) else { continue };
            if session.tcp_ao_file.is_some() {
                // Never without: what cannot be signed is not sent.
                peering::ao_supported().map_err(|words| format!("{}: {words}", named(&remotes)))?;
            }
            match (read, before) {
                (Ok(key), _) => {
                    keys.insert(remotes, key);
                }
                (Err(error), Some(old)) => {
                    warnings.push(format!("{}: {error}; the key read before stays", named(&remotes)));
                    keys.insert(remotes, old.clone());
                }
                (Err(error), None) => return Err(format!("{}: {error}", named(&remotes))),
            }
        }
        for (remotes, key) in &keys {
            if self.keys.get(remotes) != Some(key) {
                self.last += 1;
                self.generations.insert(*remotes, self.last);
            }
        }
        self.generations.retain(|remotes, _| keys.contains_key(remotes));
        self.keys = keys;
        Ok(warnings)
    }

    /// The keys themselves, for the TCP edge alone.
    pub fn keys(&self) -> BTreeMap<Prefix, Auth> {
        self.keys.clone()
    }

    /// Which there are.
    pub fn generations(&self) -> KeyGenerations {
        self.generations.clone()
    }
}

/// The node's name: configured, or the host's name in lower case.
///
/// # Errors
/// In words, with the cure: the host's name is no node name.
pub fn node_name(config: &Config) -> Result<NodeName, String> {
    if let Some(name) = &config.node.name {
        return Ok(name.clone());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    host.parse().map_err(|error| format!("the host's name cannot serve as node.name: {error}; set node.name"))
}

/// Identity of this machine: its machine-id, or where there is none, the id of this boot.
pub fn machine_uid() -> model::Uid {
    let files = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"];
    let found = files.iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    });
    model::Uid(found.unwrap_or_else(|| "unknown".to_owned()).into())
}
