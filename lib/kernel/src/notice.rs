//! Notices of the kernel: what changed, whoever did it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::kernel::{Foreign, Key, Value};

use crate::decode;
use crate::message::Message;
use crate::uapi::*;
use crate::view::{Judged, View, on_our_key};

/// What a run of notices adds up to.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Last state of each key that was spoken of.
    pub(crate) changed: BTreeMap<Key, Option<Value>>,
    pub(crate) foreign: Vec<Foreign>,
    /// Links or addresses changed.
    pub(crate) links: bool,
    /// Sysctls of devices may have changed.
    pub(crate) sysctls: bool,
    /// Why everything must be read again.
    pub(crate) read_back: Option<String>,
    /// Neighbours of any device that moved: interface, address, state.
    pub(crate) neighbours: Vec<(u32, IpAddr, u16)>,
}

impl News {
    pub(crate) fn ask_read_back(&mut self, why: impl Into<String>) {
        self.read_back.get_or_insert_with(|| why.into());
    }
}

impl View {
    /// Takes in one notice. `resolving` asks for the neighbours of all devices, not only the overlay's.
    pub(crate) fn handle_notice(&mut self, message: &Message<'_>, resolving: bool, news: &mut News) {
        match message.kind {
            RTM_NEWROUTE | RTM_DELROUTE => self.handle_route(message, news),
            RTM_NEWNEIGH | RTM_DELNEIGH => self.handle_neigh(message, resolving, news),
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => self.handle_nexthop(message, news),
            RTM_NEWADDR | RTM_DELADDR => self.handle_address(message, news),
            RTM_NEWLINK | RTM_DELLINK => self.handle_link(message, news),
            RTM_NEWNETCONF => news.sysctls = true,
            _ => {}
        }
    }

    fn handle_route(&mut self, message: &Message<'_>, news: &mut News) {
        let Some(route) = decode::route(message, model::Owner::TABLE) else { return };
        let key = Key::Route(route.prefix);
        let gone = message.kind == RTM_DELROUTE;
        let replaced = message.flags & REPLACE != 0;
        match self.judge_route(&route) {
            Judged::Ours(key, _) if gone => {
                self.own.remove(&route.prefix);
                news.changed.insert(key, None);
            }
            Judged::Ours(key, value) => {
                self.note_route(route.prefix, &value);
                news.changed.insert(key, Some(value));
            }
            judged => {
                // A replace of our key by somebody else takes ours along without a delete of its own.
                if !gone && replaced && on_our_key(&route) {
                    self.own.remove(&route.prefix);
                    news.changed.insert(key.clone(), None);
                }
                if judged == Judged::Nothing {
                    self.note_outside(&route, gone);
                }
                if gone {
                    self.foreign_went(&key, news);
                } else if let Judged::Foreign(foreign) = judged {
                    self.foreign_came(foreign, news);
                }
            }
        }
    }

    fn handle_neigh(&mut self, message: &Message<'_>, resolving: bool, news: &mut News) {
        let overlay = self.overlay_index();
        let on_overlay = overlay.is_some() && decode::neigh_index(message) == overlay;
        if !on_overlay && !resolving {
            return;
        }
        let Some(neigh) = decode::neigh(message) else { return };
        let gone = message.kind == RTM_DELNEIGH;
        if let Some(ip) = neigh.ip.filter(|_| resolving && !neigh.bridge) {
            news.neighbours.push((neigh.index, ip, if gone { 0 } else { neigh.state }));
        }
        if !on_overlay {
            return;
        }
        match self.judge_neigh(&neigh) {
            Judged::Ours(key, _) if gone => {
                news.changed.insert(key, None);
            }
            Judged::Ours(key, value) => {
                news.changed.insert(key, Some(value));
            }
            Judged::Foreign(foreign) if gone => self.foreign_went(&foreign.key, news),
            Judged::Foreign(foreign) => {
                news.changed.insert(foreign.key.clone(), None);
                self.foreign_came(foreign, news);
            }
            Judged::Nothing => {
                // An entry that stopped being permanent, or the kernel's own on the key of one that was taken away.
                if let Some(ip) = neigh.ip.filter(|ip| !neigh.bridge && !ip.is_multicast()) {
                    news.changed.insert(Key::Neighbour(self.overlay.clone(), ip), None);
                }
            }
        }
    }

    fn handle_nexthop(&mut self, message: &Message<'_>, news: &mut News) {
        let Some(raw) = decode::nexthop(message) else { return };
        if message.kind == RTM_DELNEXTHOP {
            // What we took away ourselves is not in the table any more.
            let Some(before) = self.nexthops.remove(raw.id) else { return };
            if let Some(content) = before.ours() {
                if self.nexthops.ids(content).is_empty() {
                    news.changed.insert(content.key(), None);
                }
                news.ask_read_back(format!("nexthop object {} was taken away, its routes with it", raw.id));
            }
            return;
        }
        let object = self.nexthops.object(&raw, |index| self.links.device(index));
        if let Some(content) = object.ours() {
            news.changed.insert(content.key(), Some(Value::There));
        }
        if self.nexthops.by_id(raw.id) == Some(&object) {
            return;
        }
        if let Some(before) = self.nexthops.insert(raw.id, object)
            && let Some(content) = before.ours()
        {
            if self.nexthops.ids(content).is_empty() {
                news.changed.insert(content.key(), None);
            }
            news.ask_read_back(format!("nexthop object {} was altered, its routes with it", raw.id));
        }
    }

    fn handle_address(&mut self, message: &Message<'_>, news: &mut News) {
        let Some(address) = decode::interface_address(message) else { return };
        let judged = self.judge_address(&address);
        if message.kind == RTM_DELADDR {
            news.links |= self.links.remove_address(&address);
            match judged {
                Judged::Ours(key, _) => {
                    news.changed.insert(key, None);
                }
                Judged::Foreign(foreign) => self.foreign_went(&foreign.key, news),
                Judged::Nothing => {}
            }
            if self.sources.contains(&address.ip) {
                news.ask_read_back(format!("address {} was taken away, routes from it with it", address.ip));
            }
            return;
        }
        news.links |= self.links.insert_address(address);
        match judged {
            Judged::Ours(key, value) => {
                news.changed.insert(key, Some(value));
            }
            Judged::Foreign(foreign) => {
                news.changed.insert(foreign.key.clone(), None);
                self.foreign_came(foreign, news);
            }
            Judged::Nothing => {}
        }
    }

    fn handle_link(&mut self, message: &Message<'_>, news: &mut News) {
        let Some(link) = decode::link(message) else { return };
        let gone = message.kind == RTM_DELLINK;
        let before = if gone { self.links.remove(link.index) } else { self.links.insert(link.clone()) };
        let visible = |link: &decode::Link| (link.device.clone(), link.passes(), link.mtu, link.kind.clone());
        news.links |= gone || before.as_ref().map(visible) != Some(visible(&link));
        if let Some(before) = &before {
            let renamed = before.device != link.device;
            let lost = gone || renamed || (before.passes() && !link.passes());
            if lost && (self.matters(&before.device) || before.device == self.overlay) {
                self.nexthops_known = false;
                let what = if gone {
                    "went away"
                } else if renamed {
                    "was renamed"
                } else {
                    "went down"
                };
                news.ask_read_back(format!("{} {what}, and with it what leads over it", before.device));
            }
            if before.device == self.overlay && (gone || renamed) {
                news.changed.insert(Key::Link(self.overlay.clone()), None);
                self.foreign_went(&Key::Link(self.overlay.clone()), news);
            }
        }
        if gone {
            if link.vxlan.is_some() && self.foreign.keys().any(|key| matches!(key, Key::Link(_))) {
                news.ask_read_back(format!("VXLAN device {} went away", link.device));
            }
            return;
        }
        match self.judge_link(&link) {
            Judged::Ours(key, value) => {
                news.changed.insert(key, Some(value));
            }
            Judged::Foreign(foreign) => {
                if link.device == self.overlay {
                    news.changed.insert(foreign.key.clone(), None);
                }
                self.foreign_came(foreign, news);
            }
            Judged::Nothing => {}
        }
    }

    pub(crate) fn foreign_came(&mut self, foreign: Foreign, news: &mut News) {
        if self.foreign.get(&foreign.key) != Some(&foreign.what) {
            self.foreign.insert(foreign.key.clone(), foreign.what.clone());
            news.foreign.push(foreign);
        }
    }

    /// Others may still stand on the key, so everything is looked at.
    pub(crate) fn foreign_went(&mut self, key: &Key, news: &mut News) {
        if self.foreign.remove(key).is_some() {
            news.ask_read_back(format!("somebody else's {key} went away"));
        }
    }
}
