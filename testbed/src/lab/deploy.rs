//! From a topology to a running lab.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::keeper::{Orders, READY};
use super::state::{FABRIC, Lab};
use super::{Interrupt, poll};
use crate::topology::{Kind, Node};

/// A keeper that is not ready by then has hung in a mount.
const KEEPER: Duration = Duration::from_secs(30);

/// What a deploy says while it works: one line a step.
pub type Say<'a> = &'a dyn Fn(&str);

/// How to deploy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A failing command of `exec` fails the deploy; containerlab only logs it.
    pub strict: bool,
}

impl Lab {
    /// Makes the lab. On an error what was made so far is removed again.
    pub fn deploy(&self, options: Options, interrupt: &Interrupt, say: Say<'_>) -> Result<()> {
        let _lock = self.lock()?;
        if self.folder().exists() {
            bail!(
                "lab {:?} is deployed, or what is left of it: run `biplane lab destroy -t {}` first",
                self.name(),
                self.topology.file.display()
            );
        }
        let outcome = self.make(options, interrupt, say);
        if outcome.is_err() {
            self.clean().context("cleaning up after a failed deploy")?;
        }
        outcome
    }

    fn make(&self, options: Options, interrupt: &Interrupt, say: Say<'_>) -> Result<()> {
        fs::create_dir_all(self.folder()).with_context(|| format!("cannot make {}", self.folder().display()))?;
        self.save("lab.json", &self.topology)?;
        let bridges = self.topology.nodes.iter().filter(|n| n.kind == Kind::Bridge).count();
        if bridges > 0 {
            say("bridges are made inside the lab, in a namespace of their own: nothing of the host is used");
        }
        self.start_keeper(FABRIC, &Orders::fabric())?;
        for node in self.linux_nodes() {
            self.delay(node, interrupt)?;
            self.start_keeper(&node.name, &self.orders(node)?).with_context(|| format!("node {:?}", node.name))?;
            say(&format!("node {} is up", node.name));
        }
        self.wire().context("links")?;
        say(&format!("{} links are up", self.topology.links.len()));
        let mut failed = 0;
        for node in self.linux_nodes() {
            for words in &node.exec {
                if interrupt.is_raised() {
                    bail!("interrupted");
                }
                let output = self.exec(node, None, words)?;
                if !output.is_success() {
                    failed += 1;
                    let complaint = format!("{}{}", output.stdout, output.stderr);
                    say(&format!(
                        "{}: `{}` ended with {}: {}",
                        node.name,
                        words.join(" "),
                        output.return_code,
                        complaint.trim()
                    ));
                }
            }
        }
        if failed > 0 && options.strict {
            bail!("{failed} commands failed (--strict)");
        }
        Ok(())
    }

    fn linux_nodes(&self) -> impl Iterator<Item = &Node> {
        self.topology.nodes.iter().filter(|n| n.kind == Kind::Linux)
    }

    fn delay(&self, node: &Node, interrupt: &Interrupt) -> Result<()> {
        let _: Option<()> = poll(Duration::from_secs(node.startup_delay), interrupt, || None);
        if interrupt.is_raised() {
            bail!("interrupted");
        }
        Ok(())
    }

    fn orders(&self, node: &Node) -> Result<Orders> {
        for bind in node.binds.iter().filter(|b| b.source.starts_with(self.folder()) && !b.source.exists()) {
            fs::create_dir_all(&bind.source).with_context(|| format!("cannot make {}", bind.source.display()))?;
        }
        let mut sysctls = node.sysctls.clone();
        // As containerlab does for linux nodes, whatever the host's default is.
        sysctls.entry("net.ipv6.conf.all.disable_ipv6".into()).or_insert_with(|| "0".into());
        Ok(Orders { hostname: node.hostname.clone(), binds: node.binds.clone(), tmpfs: node.tmpfs.clone(), sysctls })
    }

    /// Starts a keeper in fresh namespaces and waits until its node stands.
    fn start_keeper(&self, name: &str, orders: &Orders) -> Result<()> {
        let at = self.node_folder(name);
        fs::create_dir_all(at.join("root"))?;
        let log = fs::File::create(at.join("keeper.log"))?;
        let mut child = Command::new("unshare")
            .args(["--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--propagation=private", "--"])
            .args(&self.settings.program)
            .args(["keeper", "--at"])
            .arg(&at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for the deploy, which then cleans up.
            .process_group(0)
            .spawn()
            .context("cannot run unshare (package util-linux)")?;
        if let Some(mut input) = child.stdin.take() {
            // A keeper that fails early does not read; what it says is in its log.
            let _ = input.write_all(&serde_json::to_vec(orders)?);
        }
        let output = child.stdout.take().context("the keeper's output")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(output).read_line(&mut line);
            let _ = sender.send(line);
        });
        let answer = receiver.recv_timeout(KEEPER).unwrap_or_default();
        if answer.trim() == READY {
            return Ok(());
        }
        let mut log = String::new();
        fs::File::open(at.join("keeper.log"))?.read_to_string(&mut log)?;
        let words = if log.trim().is_empty() { "it said nothing; labs need root" } else { log.trim() };
        bail!("its keeper did not come up: {words}")
    }
}

impl Orders {
    fn fabric() -> Orders {
        Orders { hostname: "fabric".into(), binds: Vec::new(), tmpfs: Vec::new(), sysctls: Default::default() }
    }
}
