//! What changed in the directory, as inotify tells.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::disk::Disk;
use super::record::Place;
use super::trouble::Trouble;

/// A watch on every directory whose content is told.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: OwnedFd,
    places: BTreeMap<i32, Place>,
}

/// What a look at the watch gave.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Files that may be other than they were.
    pub(crate) files: BTreeSet<(Place, String)>,
    /// The kernel's queue ran over (`fs.inotify.max_queued_events`): anything may be other than it was.
    pub(crate) overflow: bool,
    /// A directory was moved, removed or unmounted.
    pub(crate) moved: bool,
}

impl Watch {
    /// Watches the directories of `disk`; what changes from now on is told.
    pub(crate) fn new(disk: &Disk) -> Result<Watch, Trouble> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|e| no_watch("max_user_instances", e))?;
        let mut places = BTreeMap::new();
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for place in Place::ALL {
            // By descriptor: the very directory that is read, wherever its path leads by now.
            let path = format!("/proc/self/fd/{}", disk.watched(place).as_raw_fd());
            let watch =
                inotify::add_watch(&inotify, Path::new(&path), flags).map_err(|e| no_watch("max_user_watches", e))?;
            places.insert(watch, place);
        }
        Ok(Watch { inotify, places })
    }

    /// Everything that was told until now.
    pub(crate) fn read(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut buffer = [MaybeUninit::uninit(); 64 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let what = event.events();
                    changes.overflow |= what.contains(ReadFlags::QUEUE_OVERFLOW);
                    changes.moved |= what.intersects(
                        ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED,
                    );
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    if let (Some(place), Some(name)) = (self.places.get(&event.wd()), name) {
                        changes.files.insert((*place, name.to_owned()));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return changes,
                Err(_) => {
                    changes.overflow = true;
                    return changes;
                }
            }
        }
    }

    /// Readable when there is something to read.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn no_watch(limit: &str, errno: Errno) -> Trouble {
    Trouble::said(format!(
        "cannot watch the store's directories: {}; it is looked at every second instead; raise fs.inotify.{limit} (sysctl)",
        std::io::Error::from(errno)
    ))
}
