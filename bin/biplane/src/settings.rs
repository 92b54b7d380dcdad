//! Configuration files of this machine, read for `biplane config validate` and to find the daemon's socket.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use config::{Source, Text};

/// Where the daemon's configuration is.
pub(crate) const FILE: &str = "/etc/biplane/config.yaml";

/// The layers that the daemon would lay over each other, lowest first: the file at `path`, `conf.d/*.yaml` beside it by
/// name, and the variables in `env`. The path `-` is the standard input alone, with the variables.
///
/// # Errors
/// In words, with the path: a file that cannot be read.
pub(crate) fn read(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|error| format!("cannot read the standard input: {error}"))?;
        sources.push(Source { name: "standard input".to_owned(), text: Text::Yaml(text) });
    } else {
        for path in files(path)? {
            let text = std::fs::read_to_string(&path).map_err(|error| cannot_read(&path, &error))?;
            sources.push(Source { name: path.display().to_string(), text: Text::Yaml(text) });
        }
    }
    let mut pairs: Vec<(String, String)> = env.filter(|(name, _)| name.starts_with("BIPLANE_")).collect();
    pairs.sort();
    sources.push(Source { name: "environment".to_owned(), text: Text::Pairs(pairs) });
    Ok(sources)
}

fn files(main: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let mut more = Vec::new();
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|error| cannot_read(&folder, &error))?.path();
                if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                    more.push(path);
                }
            }
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        Err(error) => return Err(cannot_read(&folder, &error)),
    }
    more.sort();
    more.insert(0, main.to_owned());
    Ok(more)
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::NotFound => {
            "; name one (`biplane config validate FILE`), or begin with `mode: vxlan` and \
             `pools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]`"
        }
        io::ErrorKind::PermissionDenied => "; run this as root",
        io::ErrorKind::InvalidData => "; expected UTF-8",
        _ => "",
    };
    format!("cannot read {}: {error}{cure}", path.display())
}
