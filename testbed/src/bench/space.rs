//! Network namespaces, and programs in them whose cost is read from /proc.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::Owner;

/// A network namespace, held by a process that ends with this one.
pub(crate) struct Space {
    holder: Child,
}

impl Space {
    pub(crate) fn new() -> Result<Space> {
        // `cat` waits for the end of its input, which comes when this program ends in whatever way.
        let holder = Command::new("unshare")
            .args(["--net", "--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run unshare (package util-linux)")?;
        let space = Space { holder };
        let own = fs::read_link("/proc/self/ns/net")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read_link(format!("/proc/{}/ns/net", space.pid())).is_ok_and(|link| link == own) {
            if Instant::now() > deadline {
                bail!("no network namespace came up: this needs root");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        space.ip("link set lo up")?;
        Ok(space)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A command that will run in here; it is killed when this program ends.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--net", "-t", &self.pid().to_string(), "--"]).arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// `ip` with these words.
    pub(crate) fn ip(&self, words: &str) -> Result<()> {
        let output = self.command(Path::new("ip")).args(words.split_whitespace()).output()?;
        if !output.status.success() {
            bail!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs something on a thread inside.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let space = fs::File::open(format!("/proc/{}/ns/net", self.pid()))?;
        let thread = move || {
            use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
            use std::os::fd::AsFd;
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(thread).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A connection from inside.
    pub(crate) fn connect(&self, to: std::net::SocketAddr) -> Result<TcpStream> {
        self.inside(|| Ok(TcpStream::connect_timeout(&to, Duration::from_secs(5))?))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        end(&mut self.holder);
    }
}

/// A program under measurement.
pub(crate) struct Program {
    child: Child,
    started: Instant,
}

impl Program {
    /// Starts it; its words go into `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Program> {
        let log = fs::File::create(log)?;
        command.stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        Ok(Program { child: command.spawn()?, started })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// User and system time of all its threads. /proc counts in ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // Fields 14 and 15, counted from 1; the name in parentheses is the second.
        let behind = stat.rsplit_once(')').context("/proc/PID/stat")?.1;
        let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(10) * u32::try_from(ticks)?)
    }

    /// The same in nanoseconds, of the threads that there are now.
    pub(crate) fn cpu_exact(&self) -> Result<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread may end meanwhile.
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            sum += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }

    /// Peak of resident memory since the start or the last [`Program::forget_peak`], octets.
    pub(crate) fn peak(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    /// From here on the peak is counted anew.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")?)
    }

    /// How many IPv4 routes the tables main and local of its kernel hold: without policy rules they are one.
    pub(crate) fn fib_size(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/net/fib_triestat", self.pid()))?;
        let main = text.split_once("Main:").context("no table main in fib_triestat")?.1;
        let line = main.lines().find_map(|line| line.trim().strip_prefix("Prefixes:")).context("fib_triestat")?;
        Ok(line.trim().parse()?)
    }

    /// IPv4 routes of its kernel's table main that lead somewhere.
    pub(crate) fn routes(&self) -> Result<Vec<Route>> {
        let text = fs::read_to_string(format!("/proc/{}/net/route", self.pid()))?;
        Ok(text.lines().skip(1).filter_map(Route::of).collect())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// One line of /proc/net/route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) network: u32,
    pub(crate) mask: u32,
    pub(crate) gateway: u32,
    /// Over the VXLAN link.
    pub(crate) over_overlay: bool,
}

impl Route {
    fn of(line: &str) -> Option<Route> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok().map(u32::from_be);
        let over_overlay = *words.first()? == Owner::VXLAN_DEVICE;
        Some(Route { network: number(1)?, gateway: number(2)?, mask: number(7)?, over_overlay })
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table() {
        let line = "up0\t0000F40A\t0100000A\t0003\t0\t0\t1178\t00FFFFFF\t0\t0\t0";
        let [network, gateway, mask] = [[10, 244, 0, 0], [10, 0, 0, 1], [255, 255, 255, 0]].map(u32::from_be_bytes);
        assert_eq!(Route::of(line), Some(Route { network, mask, gateway, over_overlay: false }));
        assert_eq!(Route::of("Iface\tDestination"), None);
    }
}
