//! Where a topic's queues are: name servers asked, answers remembered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use escrow_protocol::body::{self, MessageQueue, TopicRouteData};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::GetRouteInfo;
use escrow_protocol::names::AUTO_CREATE_TOPIC;
use escrow_protocol::sysflag::perm;
use parking_lot::Mutex;

use crate::connection::{Connection, ConnectionSettings, IgnoreInbound};
use crate::error::{Error, Result};

/// Queues that an automatically created topic gets at most, as the Java client asks for.
pub(crate) const DEFAULT_TOPIC_QUEUES: i32 = 4;

/// The brokers and queues of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Master's address by broker name.
    brokers: BTreeMap<String, String>,
    /// Queues that may be written.
    writable: Vec<MessageQueue>,
    /// Queues that may be read.
    readable: Vec<MessageQueue>,
}

impl Route {
    fn from_data(topic: &str, data: &TopicRouteData) -> Self {
        let brokers: BTreeMap<String, String> = data
            .broker_datas
            .iter()
            .filter_map(|b| Some((b.broker_name.clone(), b.broker_addrs.get(&0)?.clone())))
            .collect();
        let mut route = Self {
            brokers,
            writable: Vec::new(),
            readable: Vec::new(),
        };
        for queues in &data.queue_datas {
            if !route.brokers.contains_key(&queues.broker_name) {
                continue;
            }
            let numbered = |count: i32| {
                (0..count).map(|queue_id| MessageQueue {
                    broker_name: queues.broker_name.clone(),
                    queue_id,
                    topic: topic.to_owned(),
                })
            };
            if perm::is_writable(queues.perm) {
                route.writable.extend(numbered(queues.write_queue_nums));
            }
            if perm::is_readable(queues.perm) {
                route.readable.extend(numbered(queues.read_queue_nums));
            }
        }
        // Every client must count the queues in the same order: sharding keys and members share them by position.
        route.writable.sort();
        route.readable.sort();
        route
    }

    /// The route that a topic will have once the first send creates it after the pattern topic.
    fn after_pattern(topic: &str, data: &TopicRouteData) -> Self {
        let mut data = data.clone();
        for queues in &mut data.queue_datas {
            queues.write_queue_nums = queues.write_queue_nums.min(DEFAULT_TOPIC_QUEUES);
            queues.read_queue_nums = queues.write_queue_nums;
        }
        Self::from_data(topic, &data)
    }

    /// Address of a broker's master.
    #[must_use]
    pub fn address(&self, broker_name: &str) -> Option<&str> {
        self.brokers.get(broker_name).map(String::as_str)
    }

    /// The masters: name and address.
    pub fn brokers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.brokers.iter().map(|(n, a)| (n.as_str(), a.as_str()))
    }

    /// The queues that may be written, on all brokers.
    #[must_use]
    pub fn writable(&self) -> &[MessageQueue] {
        &self.writable
    }

    /// The queues that may be read, on all brokers.
    #[must_use]
    pub fn readable(&self) -> &[MessageQueue] {
        &self.readable
    }
}

/// The name servers, asked one at a time: the one that answered last is asked first.
pub(crate) struct NameServers {
    connections: Vec<Connection>,
    current: AtomicUsize,
    within: Duration,
}

impl NameServers {
    pub(crate) fn new(
        addresses: &[String],
        settings: &ConnectionSettings,
        within: Duration,
    ) -> Self {
        let connections = addresses
            .iter()
            .map(|a| Connection::new(a.clone(), settings.clone(), Arc::new(IgnoreInbound)))
            .collect();
        Self {
            connections,
            // Clients spread over the name servers; the process id is as good as a die for that.
            current: AtomicUsize::new(std::process::id() as usize),
            within,
        }
    }

    pub(crate) async fn ask(&self, request: &Frame) -> Result<Frame> {
        let count = self.connections.len();
        let mut failure = Error::Settings("no name server given");
        for _ in 0..count {
            let index = self.current.load(Ordering::Relaxed);
            let server = &self.connections[index % count];
            match server.request(request.clone(), self.within).await {
                Ok(reply) => return Ok(reply),
                Err(error) => failure = error,
            }
            // If another task has moved on already, its choice is as good as ours.
            let _ = self.current.compare_exchange(
                index,
                index.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Err(failure)
    }

    pub(crate) fn current_address(&self) -> String {
        let index = self.current.load(Ordering::Relaxed) % self.connections.len().max(1);
        self.connections
            .get(index)
            .map(|c| c.address().to_owned())
            .unwrap_or_default()
    }

    pub(crate) async fn close(&self) {
        for connection in &self.connections {
            connection.close().await;
        }
    }
}

/// Known routes, by topic.
pub(crate) struct Routes {
    names: NameServers,
    known: Mutex<HashMap<String, Arc<Route>>>,
    /// One look-up at a time: a hundred senders that start at once ask once.
    asking: tokio::sync::Mutex<()>,
}

impl Routes {
    pub(crate) fn new(names: NameServers) -> Self {
        Self {
            names,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn names(&self) -> &NameServers {
        &self.names
    }

    /// The route of an existing topic.
    pub(crate) async fn existing(&self, topic: &str) -> Result<Arc<Route>> {
        if let Some(route) = self.remembered(topic) {
            return Ok(route);
        }
        let _asking = self.asking.lock().await;
        if let Some(route) = self.remembered(topic) {
            return Ok(route);
        }
        match self.look_up(topic).await? {
            Some(data) => Ok(self.remember(topic, Route::from_data(topic, &data))),
            None => Err(no_route(topic)),
        }
    }

    /// The route for sending, which a topic has before it exists: that of the pattern topic.
    pub(crate) async fn for_sending(&self, topic: &str) -> Result<Arc<Route>> {
        match self.existing(topic).await {
            Err(Error::NoRoute { .. }) => {}
            found_or_failed => return found_or_failed,
        }
        match self.look_up(AUTO_CREATE_TOPIC).await? {
            Some(data) => Ok(self.remember(topic, Route::after_pattern(topic, &data))),
            None => Err(no_route(topic)),
        }
    }

    /// Asks again for everything known, so that new brokers and queues are seen.
    pub(crate) async fn refresh(&self) {
        let topics: Vec<String> = self.known.lock().keys().cloned().collect();
        for topic in topics {
            match self.look_up(&topic).await {
                Ok(Some(data)) => {
                    self.remember(&topic, Route::from_data(&topic, &data));
                }
                // Not created yet, or deleted: the next use decides.
                Ok(None) => self.forget(&topic),
                Err(error) => {
                    tracing::debug!(%topic, %error, "route not refreshed");
                    return;
                }
            }
        }
    }

    /// Makes the next use ask again.
    pub(crate) fn forget(&self, topic: &str) {
        self.known.lock().remove(topic);
    }

    fn remembered(&self, topic: &str) -> Option<Arc<Route>> {
        self.known.lock().get(topic).map(Arc::clone)
    }

    fn remember(&self, topic: &str, route: Route) -> Arc<Route> {
        let route = Arc::new(route);
        self.known
            .lock()
            .insert(topic.to_owned(), Arc::clone(&route));
        route
    }

    async fn look_up(&self, topic: &str) -> Result<Option<TopicRouteData>> {
        let mut ask = Frame::request(request::GET_ROUTEINFO_BY_TOPIC);
        let header = GetRouteInfo {
            topic,
            standard_json_only: Some(true),
        };
        header.encode(&mut ask.ext);
        let reply = self.names.ask(&ask).await?;
        match reply.code {
            response::SUCCESS => {}
            response::TOPIC_NOT_EXIST => return Ok(None),
            code => {
                return Err(Error::Refused {
                    address: self.names.current_address(),
                    code,
                    remark: reply.remark.unwrap_or_default(),
                });
            }
        }
        let data = body::decode(&reply.body).map_err(|error| Error::Answer {
            address: self.names.current_address(),
            reason: error.to_string(),
        })?;
        Ok(Some(data))
    }
}

fn no_route(topic: &str) -> Error {
    Error::NoRoute {
        topic: topic.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use escrow_protocol::body::{BrokerData, QueueData};

    fn data() -> TopicRouteData {
        let broker = |name: &str, id| BrokerData {
            broker_addrs: [(id, format!("{name}:10911"))].into(),
            broker_name: name.to_owned(),
            ..BrokerData::default()
        };
        let queues = |name: &str, perm, read, write| QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: read,
            write_queue_nums: write,
            topic_sys_flag: 0,
        };
        TopicRouteData {
            broker_datas: vec![broker("a", 0), broker("replica", 1), broker("read-only", 0)],
            queue_datas: vec![
                queues("a", 6, 8, 6),
                queues("replica", 6, 4, 4),
                queues("read-only", 4, 2, 2),
            ],
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn queues_are_those_of_masters_with_the_right_permission() {
        let route = Route::from_data("T", &data());
        assert_eq!(route.writable().len(), 6);
        assert_eq!(route.readable().len(), 8 + 2);
        assert_eq!(route.address("a"), Some("a:10911"));
        assert_eq!(route.address("replica"), None);
    }

    #[test]
    fn a_topic_to_be_created_gets_few_queues_of_the_pattern() {
        let route = Route::after_pattern("T", &data());
        assert_eq!(route.writable().len(), 4);
        assert!(route.writable().iter().all(|q| q.topic == "T"));
    }
}
