//! The directory: reading it, and writing so that a crash at any point leaves every file whole.
//!
//! A file is written to `tmp/NODE`, synced, and then moved to its place in one step: `renameat2(RENAME_NOREPLACE)` to
//! create, `rename` to replace. The directory is synced after that. So a reader sees an old or a new file, never a half
//! one, and what was answered survives a power cut.
//!
//! Everything goes through descriptors opened once: a directory that is moved away, or over which another is mounted,
//! is never mixed with what comes in its place. [`Disk::check`] notices both. `store.id` tells a store that came back
//! from an empty directory in its place: taking the second for the first would mean that every claim is gone.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::{NodeName, Uid};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, StatVfsMountFlags, flock, fstat,
    fstatvfs, fsync, linkat, mkdirat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::record::Place;
use super::trouble::Trouble;

const TMP: &str = "tmp";
const LIVE: &str = "live";
const ID: &str = "store.id";
const STORE_LOCK: &str = "store.lock";
const COORDINATOR_LOCK: &str = "coordinator.lock";

/// Larger files are not ours. The digest of 10,000 nodes in the middle of a switch has less than 1 MiB.
const MAX_FILE: u64 = 16 << 20;

/// How long a change waits for the store's lock, which others hold for milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// The open store.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    root: OwnedFd,
    claims: OwnedFd,
    quarantine: OwnedFd,
    phases: OwnedFd,
    live: OwnedFd,
    tmp: OwnedFd,
    id: String,
    node: NodeName,
    boot_id: String,
    /// Writes left before this process "dies": every later one fails, cleaning up included.
    #[cfg(test)]
    pub(crate) writes_left: std::cell::Cell<Option<u32>>,
}

/// Tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64, u64, i64, i64, i64);

/// An exclusive `flock` on a file; the kernel frees it when the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    file: OwnedFd,
}

/// A file's bytes, or what keeps this one file from being read.
pub(crate) type Content = Result<Vec<u8>, String>;

impl Disk {
    /// Opens the store at `path`. With `known`, the identity of the store that was open before, only that one; without,
    /// whatever store is there, and what is missing of it is made.
    pub(crate) fn open(path: &Path, node: &NodeName, known: Option<&str>) -> Result<Disk, Trouble> {
        if known.is_none() {
            std::fs::create_dir_all(path)
                .map_err(|e| Trouble::new("make", path, Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
        }
        let root = directory(CWD, path, path)?;
        if known.is_some() && matches!(statat(&root, ID, AtFlags::empty()), Err(Errno::NOENT)) {
            return Err(not_the_store(path));
        }
        let open = |name: &str| {
            if known.is_none() {
                match mkdirat(&root, name, Mode::from(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(Trouble::new("make", &path.join(name), errno)),
                }
            }
            directory(root.as_fd(), Path::new(name), &path.join(name))
        };
        let [claims, quarantine, phases, live, tmp] = [
            open(Place::Claims.directory())?,
            open(Place::Quarantine.directory())?,
            open(Place::Phases.directory())?,
            open(LIVE)?,
            open(TMP)?,
        ];
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let mut disk = Disk {
            path: path.to_owned(),
            root,
            claims,
            quarantine,
            phases,
            live,
            tmp,
            id: String::new(),
            node: node.clone(),
            boot_id,
            #[cfg(test)]
            writes_left: std::cell::Cell::new(None),
        };
        disk.id = disk.identify(known)?;
        Ok(disk)
    }

    /// The store's identity; made if this is a new store and none was known.
    fn identify(&self, known: Option<&str>) -> Result<String, Trouble> {
        let mut id = self.read_id()?;
        if id.is_none() && known.is_none() {
            let path = Path::new("/proc/sys/kernel/random/uuid");
            let fresh = std::fs::read(path)
                .map_err(|e| Trouble::new("read", path, Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
            // Another node may have been faster: then its identity is the store's.
            self.prepare(&fresh)?;
            self.create_prepared(Place::Root, ID)?;
            self.sync(Place::Root)?;
            id = self.read_id()?;
        }
        match (id, known) {
            (None, _) => Err(not_the_store(&self.path)),
            (Some(id), Some(known)) if id != known => Err(Trouble::said(format!(
                "{} is another store than before ({id}, not {known}); bring the old one back, or restart the daemon to \
                 go on with this one",
                self.path.display()
            ))),
            (Some(id), _) => Ok(id),
        }
    }

    fn read_id(&self) -> Result<Option<String>, Trouble> {
        match self.read(Place::Root, ID)? {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Some(Err(why)) => {
                Err(Trouble::said(format!("cannot read {}: {why}", self.file(Place::Root, ID).display())))
            }
        }
    }

    /// The store's identity.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Identity of this run of the machine.
    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Full path of a file, for words.
    pub(crate) fn file(&self, place: Place, name: &str) -> PathBuf {
        self.path.join(place.directory()).join(name)
    }

    /// Is the store still where it was, whole, and may we read it?
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        self.check_place()?;
        for (name, fd) in [
            (Place::Claims.directory(), &self.claims),
            (Place::Quarantine.directory(), &self.quarantine),
            (Place::Phases.directory(), &self.phases),
            (LIVE, &self.live),
            (TMP, &self.tmp),
        ] {
            let path = self.path.join(name);
            let now = directory(self.root.as_fd(), Path::new(name), &path)?;
            if !same_file(&stat(&now, &path)?, &stat(fd, &path)?) {
                return Err(Trouble::said(format!("{} is another directory than before", path.display())));
            }
        }
        match statat(&self.root, ID, AtFlags::empty()) {
            Ok(_) => Ok(()),
            Err(errno) => Err(Trouble::new("read", &self.path.join(ID), errno)),
        }
    }

    /// Is the store's path still this directory?
    fn check_place(&self) -> Result<(), Trouble> {
        let there = statat(CWD, &self.path, AtFlags::empty()).map_err(|e| Trouble::new("read", &self.path, e))?;
        if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
            return Err(Trouble::new("read", &self.path, Errno::NOTDIR));
        }
        if same_file(&there, &stat(&self.root, &self.path)?) {
            return Ok(());
        }
        Err(Trouble::said(format!(
            "{} is another directory than before; bring the store back, or unmount what covers it",
            self.path.display()
        )))
    }

    /// Does the file system say that nothing can be written? Some say so wrongly; [`Disk::probe`] tells.
    pub(crate) fn looks_unwritable(&self) -> bool {
        fstatvfs(&self.root).is_ok_and(|fs| {
            (fs.f_blocks > 0 && fs.f_bavail == 0)
                || (fs.f_files > 0 && fs.f_favail == 0)
                || fs.f_flag.contains(StatVfsMountFlags::RDONLY)
        })
    }

    /// Tries to write a file.
    pub(crate) fn probe(&self) -> Result<(), Trouble> {
        self.check_place()?;
        self.prepare(&[b' '; 4096])?;
        self.discard_prepared();
        Ok(())
    }

    /// A directory to watch, as a path that stays with the descriptor.
    pub(crate) fn watched(&self, place: Place) -> BorrowedFd<'_> {
        match place {
            Place::Claims => self.claims.as_fd(),
            Place::Quarantine => self.quarantine.as_fd(),
            Place::Phases => self.phases.as_fd(),
            Place::Root => self.root.as_fd(),
        }
    }

    /// Names of the files of a place that are UTF-8; others are not ours.
    pub(crate) fn names(&self, place: Place) -> Result<Vec<String>, Trouble> {
        self.names_in(self.watched(place), &self.path.join(place.directory()))
    }

    fn names_in(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<Vec<String>, Trouble> {
        let entries = Dir::read_from(directory).map_err(|e| Trouble::new("list", path, e))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Trouble::new("list", path, e))?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// State of a file; `None` if it is not there.
    pub(crate) fn stamp(&self, place: Place, name: &str) -> Result<Option<Stamp>, Trouble> {
        match statat(self.watched(place), name, AtFlags::empty()) {
            Ok(stat) => Ok(Some(Stamp::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Trouble::new("read", &self.file(place, name), errno)),
        }
    }

    /// A file's bytes; `None` if it is not there. What is wrong with this one file alone is content, not trouble.
    pub(crate) fn read(&self, place: Place, name: &str) -> Result<Option<Content>, Trouble> {
        // Not blocking: somebody may have put a FIFO there.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut content = Vec::new();
        let read =
            openat(self.watched(place), name, flags, Mode::empty()).map_err(std::io::Error::from).and_then(|fd| {
                let file = std::fs::File::from(fd);
                if !file.metadata()?.is_file() {
                    return Err(std::io::Error::other("it is no file"));
                }
                file.take(MAX_FILE + 1).read_to_end(&mut content)
            });
        match (read, self.check_open(place)) {
            (Ok(size), _) if size as u64 > MAX_FILE => Ok(Some(Err("it is too large".to_owned()))),
            (Ok(_), _) => Ok(Some(Ok(content))),
            (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            (Err(_), Err(trouble)) => Err(trouble),
            (Err(error), Ok(())) => match Errno::from_io_error(&error) {
                Some(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                    Err(Trouble::new("read", &self.file(place, name), errno))
                }
                _ => Ok(Some(Err(error.to_string()))),
            },
        }
    }

    /// May the directory itself be entered? Told apart from a file that may not be read.
    fn check_open(&self, place: Place) -> Result<(), Trouble> {
        statat(self.watched(place), ".", AtFlags::empty())
            .map(|_| ())
            .map_err(|e| Trouble::new("read", &self.path.join(place.directory()), e))
    }

    /// Replaces or creates a file.
    pub(crate) fn replace(&self, place: Place, name: &str, content: &[u8]) -> Result<(), Trouble> {
        self.check_place()?;
        self.prepare(content)?;
        self.replace_prepared(place, name)?;
        self.sync(place)
    }

    /// Writes and syncs the temporary file of this node.
    pub(crate) fn prepare(&self, content: &[u8]) -> Result<(), Trouble> {
        let path = self.path.join(TMP).join(self.node.as_str());
        let written = self.write_temporary(content);
        if let Err(errno) = written {
            self.discard_prepared();
            return Err(Trouble::new("write", &path, errno));
        }
        Ok(())
    }

    fn write_temporary(&self, content: &[u8]) -> Result<(), Errno> {
        // One that a crash left behind may be a second link to a file in its place: never write into it.
        self.step()?;
        match unlinkat(&self.tmp, self.node.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        self.step()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(openat(&self.tmp, self.node.as_str(), flags, Mode::from(0o644))?);
        self.step()?;
        file.write_all(content).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        self.step()?;
        fsync(&file)
    }

    /// Removes the temporary file, whether there is one or not.
    pub(crate) fn discard_prepared(&self) {
        if self.step().is_ok() {
            let _ = unlinkat(&self.tmp, self.node.as_str(), AtFlags::empty());
        }
    }

    /// Moves the temporary file to its place, where nothing may be; false, and nothing changed, if something is.
    pub(crate) fn create_prepared(&self, place: Place, name: &str) -> Result<bool, Trouble> {
        let (from, to, temporary) = (self.tmp.as_fd(), self.watched(place), self.node.as_str());
        let path = self.file(place, name);
        let moved = self.step().and_then(|()| renameat_with(from, temporary, to, name, RenameFlags::NOREPLACE));
        let made = match moved {
            // The file system cannot do that (some network ones): a hard link does the same in two steps.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.step().and_then(|()| linkat(from, temporary, to, name, AtFlags::empty()))
            }
            other => other,
        };
        self.discard_prepared();
        match made {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(Trouble::new("write", &path, errno)),
        }
    }

    /// Moves the temporary file to its place, over what is there.
    pub(crate) fn replace_prepared(&self, place: Place, name: &str) -> Result<(), Trouble> {
        let moved = self.step().and_then(|()| renameat(&self.tmp, self.node.as_str(), self.watched(place), name));
        moved.map_err(|errno| {
            self.discard_prepared();
            Trouble::new("write", &self.file(place, name), errno)
        })
    }

    /// Moves a file from place to place.
    pub(crate) fn shift(&self, from: Place, to: Place, name: &str) -> Result<(), Trouble> {
        self.step()
            .and_then(|()| renameat(self.watched(from), name, self.watched(to), name))
            .map_err(|e| Trouble::new("write", &self.file(to, name), e))
    }

    /// Removes a file; one that is not there is removed already.
    pub(crate) fn remove(&self, place: Place, name: &str) -> Result<(), Trouble> {
        match self.step().and_then(|()| unlinkat(self.watched(place), name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Trouble::new("remove", &self.file(place, name), errno)),
        }
    }

    /// Makes the names of a directory survive a power cut.
    pub(crate) fn sync(&self, place: Place) -> Result<(), Trouble> {
        self.step()
            .and_then(|()| fsync(self.watched(place)))
            .map_err(|e| Trouble::new("sync", &self.path.join(place.directory()), e))
    }

    /// The lock under which claims, quarantine and wish are changed; held for milliseconds.
    pub(crate) fn lock_store(&self) -> Result<Lock, Trouble> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let mut wait = Duration::from_millis(1);
        loop {
            self.check_place()?;
            if let Some(lock) = self.lock(self.root.as_fd(), STORE_LOCK, "")? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                let path = self.path.join(STORE_LOCK);
                return Err(Trouble::said(format!(
                    "{0} is held by another process for more than {1} s; if it hangs, find it with `fuser -v {0}` and end it",
                    path.display(),
                    LOCK_PATIENCE.as_secs()
                )));
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(Duration::from_millis(8));
        }
    }

    /// The coordinator's lock, unless another daemon has it.
    pub(crate) fn lock_coordinator(&self) -> Result<Option<Lock>, Trouble> {
        let text = format!("pid {} node {}\n", std::process::id(), self.node);
        self.lock(self.root.as_fd(), COORDINATOR_LOCK, &text)
    }

    /// Is this still the coordinator's lock file, or did somebody put another in its place?
    pub(crate) fn is_coordinator_lock(&self, lock: &Lock) -> bool {
        self.is_lock(self.root.as_fd(), COORDINATOR_LOCK, lock)
    }

    /// This node's own lock, unless another daemon has it.
    pub(crate) fn lock_live(&self, uid: &Uid) -> Result<Option<Lock>, Trouble> {
        let text = format!("pid {} node {} uid {uid}\n", std::process::id(), self.node);
        self.lock(self.live.as_fd(), &live_name(&self.node), &text)
    }

    /// Is this still the node's lock file?
    pub(crate) fn is_live_lock(&self, lock: &Lock) -> bool {
        self.is_lock(self.live.as_fd(), &live_name(&self.node), lock)
    }

    /// What the holder of this node's lock wrote into it.
    pub(crate) fn live_holder(&self) -> (PathBuf, String) {
        let name = live_name(&self.node);
        let mut text = String::new();
        if let Ok(fd) = openat(&self.live, &*name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()) {
            let _ = std::fs::File::from(fd).take(512).read_to_string(&mut text);
        }
        (self.path.join(LIVE).join(name), text.trim().to_owned())
    }

    /// The nodes whose lock is held by a live process.
    pub(crate) fn live_nodes(&self) -> Result<Vec<NodeName>, Trouble> {
        let path = self.path.join(LIVE);
        let names = self.names_in(self.live.as_fd(), &path)?;
        let nodes = names.iter().filter_map(|name| Some((name, name.strip_suffix(".lock")?.parse().ok()?)));
        Ok(nodes.filter(|(name, node)| *node == self.node || self.is_locked(name)).map(|(_, node)| node).collect())
    }

    /// A shared lock for an instant tells. A daemon that starts in that very instant finds its lock taken, and tries
    /// again.
    fn is_locked(&self, name: &str) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(&self.live, name, flags, Mode::empty())
            .is_ok_and(|fd| flock(fd, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
    }

    /// Takes a lock and writes `text` into its file, for people.
    fn lock(&self, directory: BorrowedFd<'_>, name: &str, text: &str) -> Result<Option<Lock>, Trouble> {
        let open = |flags| openat(directory, name, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::from(0o644));
        // Open for reading only: a lock that is held must not keep a file system from being made read-only, and one
        // whose file is there can be had on a full disk.
        let file = open(OFlags::RDONLY | OFlags::CREATE);
        let file = file.map_err(|e| Trouble::new("open", &self.path.join(name), e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(Trouble::new("lock", &self.path.join(name), errno)),
        }
        // It may have been removed between the opening and the lock: then others lock another file.
        let lock = Lock { file };
        if !self.is_lock(directory, name, &lock) {
            return Ok(None);
        }
        if !text.is_empty()
            && let Ok(file) = open(OFlags::WRONLY)
        {
            // A full disk does not matter here.
            let written = rustix::io::pwrite(&file, text.as_bytes(), 0).unwrap_or(0);
            let _ = rustix::fs::ftruncate(&file, written as u64);
        }
        Ok(Some(lock))
    }

    fn is_lock(&self, directory: BorrowedFd<'_>, name: &str, lock: &Lock) -> bool {
        match (statat(directory, name, AtFlags::empty()), fstat(&lock.file)) {
            (Ok(there), Ok(held)) => same_file(&there, &held),
            _ => false,
        }
    }

    /// Comes before every write.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the tests count writes here")]
    fn step(&self) -> Result<(), Errno> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> Result<(), Errno> {
        match self.writes_left.get() {
            Some(0) => return Err(Errno::CANCELED),
            Some(left) => self.writes_left.set(Some(left - 1)),
            None => {}
        }
        Ok(())
    }
}

impl Stamp {
    /// Was the last change long enough ago that another one would have another time? Clocks of file systems go in
    /// steps of up to 10 ms.
    pub(crate) fn is_settled(self) -> bool {
        let now = clock_gettime(ClockId::Realtime);
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        nanos(now.tv_sec, now.tv_nsec).abs_diff(nanos(self.3, self.4)) > 20_000_000
    }

    fn of(stat: &Stat) -> Stamp {
        let nanos = i64::try_from(stat.st_ctime_nsec).unwrap_or(0);
        Stamp(stat.st_ino, stat.st_size.unsigned_abs(), stat.st_mtime, stat.st_ctime, nanos)
    }
}

pub(crate) fn live_name(node: &NodeName) -> String {
    format!("{node}.lock")
}

fn not_the_store(path: &Path) -> Trouble {
    Trouble::said(format!(
        "{} is not the store it was: it has no {ID}; bring the store back, or mount it; a daemon that is \
         restarted says how to begin with an empty one",
        path.display()
    ))
}

fn directory(at: BorrowedFd<'_>, name: &Path, path: &Path) -> Result<OwnedFd, Trouble> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty()).map_err(|e| Trouble::new("read", path, e))
}

fn stat(fd: &OwnedFd, path: &Path) -> Result<Stat, Trouble> {
    fstat(fd).map_err(|e| Trouble::new("read", path, e))
}

fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) && one.st_nlink > 0
}
