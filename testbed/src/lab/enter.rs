//! Commands inside of a node or a pod.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::process::Process;
use super::state::Lab;
use crate::topology::Node;

/// How long a command of `exec` may take.
pub const LONGEST: Duration = Duration::from_secs(120);

/// What a command did; the field names are containerlab's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// The command.
    pub cmd: Vec<String>,
    /// Its exit status; 126 if it could not be run, 128 and more if a signal ended it.
    #[serde(rename = "return-code")]
    pub return_code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// It ended well.
    pub fn is_success(&self) -> bool {
        self.return_code == 0
    }
}

impl Lab {
    /// A command that will run inside of `node`: its namespaces, its root, its environment.
    pub fn command(&self, node: &Node, program: impl AsRef<OsStr>) -> Result<Command> {
        let keeper = self.keeper(&node.name).with_context(|| self.not_running(&node.name))?;
        let mut command = Command::new("nsenter");
        command.args(enter_arguments(&keeper)).arg("--").arg(program);
        command.env_clear().envs(self.environment(node)).current_dir("/");
        Ok(command)
    }

    /// The words in front of a command line that put it inside of `node`.
    pub fn prefix(&self, node: &str) -> Result<Vec<String>> {
        let keeper = self.keeper(node).with_context(|| self.not_running(node))?;
        let mut words = vec!["nsenter".to_string()];
        words.extend(enter_arguments(&keeper));
        words.push("--".to_string());
        Ok(words)
    }

    /// Runs `words` inside of `node`, or of one of its pods, to the end.
    pub fn exec(&self, node: &Node, pod: Option<&str>, words: &[String]) -> Result<Output> {
        let Some((program, arguments)) = words.split_first() else { bail!("an empty command") };
        let mut command = match pod {
            None => self.command(node, program)?,
            Some(pod) => {
                let mut command = self.command(node, "ip")?;
                command.args(["netns", "exec", pod, program]);
                command
            }
        };
        run(command.args(arguments), words)
    }

    /// [`Lab::exec`] by the node's name with the command as one text without quotes; what it printed, or an error with
    /// what it complained about.
    pub fn shell(&self, node: &str, text: &str) -> Result<String> {
        let node = self.node(node)?;
        let output = self.exec(node, None, &["sh".to_string(), "-c".to_string(), text.to_string()])?;
        if !output.is_success() {
            bail!("{}: `{text}` ended with {}: {}", node.name, output.return_code, output.stderr.trim());
        }
        Ok(output.stdout)
    }

    fn not_running(&self, node: &str) -> String {
        format!("node {node:?} of lab {:?} does not run: `biplane lab deploy` starts it", self.name())
    }

    /// As in a container: nothing of the caller's.
    fn environment(&self, node: &Node) -> Vec<(OsString, OsString)> {
        let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/frr"];
        let folders = self.settings.path.iter().map(std::path::PathBuf::as_path).chain(usual.map(std::path::Path::new));
        let path = std::env::join_paths(folders).unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let links = self.topology.links.iter().flat_map(|l| &l.ends).filter(|e| e.node == node.name).count();
        let mut environment: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), path),
            ("HOME".into(), "/root".into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("HOSTNAME".into(), node.hostname.clone().into()),
            ("CLAB_INTFS".into(), links.to_string().into()),
        ];
        for (name, value) in &node.labels {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            environment.push((format!("CLAB_LABEL_{name}").into(), value.into()));
        }
        environment.extend(node.env.iter().map(|(k, v)| (k.into(), v.into())));
        environment
    }
}

/// Runs a command to its end and keeps what it printed in files: a daemon that it leaves behind may hold them open as
/// long as it likes, where a pipe would be waited for.
pub fn run(command: &mut Command, words: &[String]) -> Result<Output> {
    let (mut stdout, mut stderr) = (scratch()?, scratch()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let failed = |error: String| Output { cmd: words.to_vec(), return_code: 126, stdout: String::new(), stderr: error };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(failed(format!("cannot run {:?}: {error}", command.get_program()))),
    };
    let deadline = Instant::now() + LONGEST;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(failed(format!("did not end within {} s", LONGEST.as_secs())));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    Ok(Output {
        cmd: words.to_vec(),
        return_code: code(status),
        stdout: contents(&mut stdout)?,
        stderr: contents(&mut stderr)?,
    })
}

fn enter_arguments(keeper: &Process) -> Vec<String> {
    let mut arguments = vec![format!("--target={}", keeper.pid)];
    arguments.extend(["--mount", "--net", "--uts", "--ipc", "--pid"].map(String::from));
    arguments
}

fn scratch() -> Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(File::from(memfd_create(c"output", MemfdFlags::CLOEXEC).context("memfd")?))
}

fn contents(file: &mut File) -> Result<String> {
    let mut octets = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
