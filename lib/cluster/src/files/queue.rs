//! Commands that wait to be carried out: the last one of each thing counts, and every wish, as an operator waits for
//! its answer.

use model::PodCidr;

use crate::Command;

/// In the order in which the things were first spoken of.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    commands: Vec<Command>,
}

#[derive(PartialEq, Eq)]
enum Thing {
    Slot(PodCidr),
    Phase,
    Digest,
}

impl Queue {
    /// Adds a command in place of one about the same thing.
    pub(crate) fn push(&mut self, command: Command) {
        let thing = Thing::of(&command);
        match self.commands.iter_mut().find(|waiting| thing.is_some() && Thing::of(waiting) == thing) {
            None => self.commands.push(command),
            // An update of a claim that was not created yet creates it with the new content.
            Some(waiting) => {
                *waiting = match (&*waiting, command) {
                    (Command::Create(_), Command::Update(claim)) => Command::Create(claim),
                    (_, command) => command,
                }
            }
        }
    }

    /// Takes all of them; what could not be carried out is given back by [`Queue::push`].
    pub(crate) fn take(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }
}

impl Thing {
    fn of(command: &Command) -> Option<Thing> {
        match command {
            Command::Create(claim) | Command::Update(claim) => Some(Thing::Slot(claim.pod_cidr)),
            Command::Release(cidr) => Some(Thing::Slot(*cidr)),
            Command::Phase(_) => Some(Thing::Phase),
            Command::Digest(_) => Some(Thing::Digest),
            Command::Wish(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::claim;

    #[test]
    fn the_last_of_each_thing_counts() {
        let mut queue = Queue::default();
        let (one, two) = (claim("10.1.0.0/24", "n1"), claim("10.2.0.0/24", "n1"));
        let mut moved = one.clone();
        moved.uid = model::Uid("other".into());
        queue.push(Command::Create(one.clone()));
        queue.push(Command::Wish(None));
        queue.push(Command::Create(two.clone()));
        queue.push(Command::Update(moved.clone()));
        queue.push(Command::Release(two.pod_cidr));
        queue.push(Command::Wish(None));
        let wish = Command::Wish(None);
        let left = vec![Command::Create(moved), wish.clone(), Command::Release(two.pod_cidr), wish];
        assert_eq!(queue.take(), left);
        assert_eq!(queue.take(), vec![]);
    }
}
