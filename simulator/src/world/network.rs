//! What lies between clients and the process: requests and replies that are lost, late or doubled.

use super::traffic::{From, Reply, Request};
use super::{Event, World};

impl World {
    /// Says something to the process, over the network.
    pub(super) fn say(&mut self, from: From, request: Request) {
        let faults = self.plan.faults.clone();
        if !self.faults_are_over && self.dice.permille(faults.lost) {
            self.tally.add("request lost");
            return;
        }
        let mut delay = self.dice.below(3);
        if !self.faults_are_over && self.dice.permille(faults.late) {
            self.tally.add("request late");
            delay = self.dice.below(20_000);
        }
        if !self.faults_are_over && self.dice.permille(faults.doubled) {
            self.tally.add("request doubled");
            let again = self.now_ms + delay + self.dice.below(9_000);
            let event = Event::Arrives(self.boot, from, request.clone());
            self.agenda.at(again, event);
        }
        self.agenda.at(
            self.now_ms + delay,
            Event::Arrives(self.boot, from, request),
        );
    }

    /// Says something that reaches the process for sure, if there is one.
    pub(super) fn say_at_once(&mut self, from: From, request: Request) {
        self.agenda
            .at(self.now_ms, Event::Arrives(self.boot, from, request));
    }

    pub(super) fn arrives(&mut self, boot: u64, from: From, request: Request) {
        if boot != self.boot {
            return;
        }
        if let Some(up) = &mut self.up {
            up.inbox.push((from, request));
            // What comes together is taken together.
            let at = self.now_ms + self.dice.below(2);
            self.round_at(at);
        }
    }

    /// A reply travels to its client.
    pub(super) fn hear_later(&mut self, to: From, reply: Reply) {
        if to.client >= self.clients.len() {
            return;
        }
        if !self.faults_are_over && self.dice.permille(self.plan.faults.lost) {
            self.tally.add("reply lost");
            return;
        }
        let mut delay = self.dice.below(3);
        if !self.faults_are_over && self.dice.permille(self.plan.faults.late) {
            self.tally.add("reply late");
            delay = self.dice.below(12_000);
        }
        self.agenda.at(self.now_ms + delay, Event::Hears(to, reply));
    }
}
