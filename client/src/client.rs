//! One client instance: its connections, its groups, and the task that keeps both fresh.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use escrow_protocol::body::MessageQueue;
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{HEARTBEAT_CHECKS, NotifyConsumerIdsChanged, UnregisterClient};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Interval, interval_at};

use crate::check::Checkers;
use crate::connection::{Connection, ConnectionSettings, Inbound};
use crate::error::{Error, Result};
use crate::heartbeat::Membership;
use crate::route::{NameServers, Route, Routes};
use crate::unique_key::UniqueKeys;

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses (`host:port`) of the name servers.
    pub name_servers: Vec<String>,
    /// Who we are to brokers; two clients with one id disturb each other. Default: address, process, time.
    pub client_id: Option<String>,
    /// How long a reply may take. Default 3 s, as the Java client.
    pub request_timeout: Duration,
    /// Pause between heartbeats. Default 30 s; a broker forgets a client after 120 s.
    pub heartbeat_interval: Duration,
    /// Pause between two looks at the routes in use. Default 30 s.
    pub route_interval: Duration,
    /// Checks of one group answered at the same time; more are left for the broker to repeat. Default 64.
    pub checks_max: usize,
    /// Limits of each connection.
    pub connection: ConnectionSettings,
}

impl Settings {
    /// Defaults, with name servers as RocketMQ writes them: `host:port;host:port`.
    #[must_use]
    pub fn new(name_servers: &str) -> Self {
        let addresses = name_servers.split(';').map(str::trim);
        Self {
            name_servers: addresses
                .filter(|a| !a.is_empty())
                .map(str::to_owned)
                .collect(),
            client_id: None,
            request_timeout: Duration::from_secs(3),
            heartbeat_interval: Duration::from_secs(30),
            route_interval: Duration::from_secs(30),
            checks_max: 64,
            connection: ConnectionSettings::default(),
        }
    }
}

/// A client of a RocketMQ cluster. Clones share it; producers and consumers hold one.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) client_id: String,
    pub(crate) keys: UniqueKeys,
    pub(crate) routes: Routes,
    pub(crate) membership: Membership,
    pub(crate) checkers: Checkers,
    brokers: Mutex<HashMap<String, Connection>>,
    /// Addresses of brokers that said so.
    first_decision_kept: Mutex<HashSet<String>>,
    /// Our groups are to be known to brokers that we have no topics on.
    every_broker: AtomicBool,
    housekeeping: Mutex<Option<AbortHandle>>,
}

impl Client {
    /// Starts a client. Nothing is asked of any server yet.
    ///
    /// # Errors
    /// [`Error::Settings`] without name servers, [`Error::Local`] if this host has no usable address.
    pub async fn start(settings: Settings) -> Result<Self> {
        let Some(first) = settings.name_servers.first() else {
            return Err(Error::Settings("no name server given"));
        };
        let address = local_address(first).await.map_err(Error::Local)?;
        let client_id = settings
            .client_id
            .clone()
            .unwrap_or_else(|| default_client_id(address));
        let names = NameServers::new(
            &settings.name_servers,
            &settings.connection,
            settings.request_timeout,
        );
        let shared = Arc::new(Shared {
            client_id,
            keys: UniqueKeys::new(address),
            routes: Routes::new(names),
            membership: Membership::default(),
            checkers: Checkers::new(settings.checks_max),
            brokers: Mutex::default(),
            first_decision_kept: Mutex::default(),
            every_broker: AtomicBool::new(false),
            housekeeping: Mutex::default(),
            settings,
        });
        let task = tokio::spawn(housekeeping(Arc::downgrade(&shared)));
        *shared.housekeeping.lock() = Some(task.abort_handle());
        Ok(Self { shared })
    }

    /// Who we are to brokers.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.client_id
    }

    /// The route of an existing topic.
    ///
    /// # Errors
    /// [`Error::NoRoute`] if no name server knows it; otherwise what kept us from asking.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>> {
        self.shared.routes.existing(topic).await
    }

    /// The connection to a broker, for requests that this crate has no words for.
    #[must_use]
    pub fn broker(&self, address: &str) -> Connection {
        let mut brokers = self.shared.brokers.lock();
        if let Some(connection) = brokers.get(address) {
            return connection.clone();
        }
        let inbound = FromBroker {
            client: Arc::downgrade(&self.shared),
        };
        let settings = self.shared.settings.connection.clone();
        let connection = Connection::new(address.to_owned(), settings, Arc::new(inbound));
        brokers.insert(address.to_owned(), connection.clone());
        connection
    }

    /// The brokers that this client has to do with, each with whether it is connected at present.
    #[must_use]
    pub fn connections(&self) -> Vec<(String, bool)> {
        let brokers = self.shared.brokers.lock();
        let mut states: Vec<(String, bool)> = brokers
            .iter()
            .map(|(address, connection)| (address.clone(), connection.is_up()))
            .collect();
        states.sort();
        states
    }

    /// Leaves all groups and closes all connections; what was handed over before is written first.
    pub async fn close(&self) {
        if let Some(task) = self.shared.housekeeping.lock().take() {
            task.abort();
        }
        let brokers: Vec<Connection> = self
            .shared
            .brokers
            .lock()
            .drain()
            .map(|(_, connection)| connection)
            .collect();
        let groups = self.shared.membership.all();
        for connection in brokers {
            for (group, consumes) in &groups {
                let leave = self.unregister_frame(group, *consumes);
                // A broker that cannot be told learns of it from the closed connection.
                let _ = connection
                    .oneway(leave, self.shared.settings.request_timeout)
                    .await;
            }
            connection.close().await;
        }
        self.shared.routes.names().close().await;
    }

    /// The connection to the broker that has `queue`, by the topic's route.
    pub(crate) async fn broker_of(&self, queue: &MessageQueue) -> Result<Connection> {
        let route = self.shared.routes.existing(&queue.topic).await?;
        let address = route
            .address(&queue.broker_name)
            .ok_or_else(|| Error::NoRoute {
                topic: queue.topic.clone(),
            })?;
        Ok(self.broker(address))
    }

    /// Sends a request and takes only success for an answer.
    pub(crate) async fn call(&self, connection: &Connection, frame: Frame) -> Result<Frame> {
        let within = self.shared.settings.request_timeout;
        let reply = connection.request(frame, within).await?;
        succeeded(connection, reply)
    }

    /// Tells one broker which groups we are in, and waits until it has taken note.
    pub(crate) async fn introduce(&self, connection: &Connection) -> Result<()> {
        let shared = &self.shared;
        let checked = shared.checkers.groups();
        let Some(heartbeat) = shared.membership.heartbeat(&shared.client_id, &checked) else {
            return Ok(());
        };
        let reply = self.call(connection, heartbeat).await?;
        if !checked.is_empty() {
            let mut keepers = shared.first_decision_kept.lock();
            if reply.ext.get(HEARTBEAT_CHECKS) == Some("true") {
                keepers.insert(connection.address().to_owned());
            } else {
                keepers.remove(connection.address());
            }
        }
        Ok(())
    }

    /// Whether the broker at `address` keeps to the first decision about a half, so that repeating it does no harm:
    /// EscrowMQ does, Apache's delivers again.
    pub(crate) fn keeps_first_decision(&self, address: &str) -> bool {
        self.shared.first_decision_kept.lock().contains(address)
    }

    /// Takes a group out of the heartbeats and tells the brokers.
    pub(crate) async fn leave(&self, group: &str, consumes: bool) {
        if consumes {
            self.shared.membership.remove_consumer(group);
        } else {
            self.shared.membership.remove_producer(group);
            self.shared.checkers.remove(group);
        }
        let brokers: Vec<Connection> = self.shared.brokers.lock().values().cloned().collect();
        for connection in brokers {
            let leave = self.unregister_frame(group, consumes);
            if let Err(error) = self.call(&connection, leave).await {
                tracing::debug!(broker = connection.address(), %group, %error, "not unregistered");
            }
        }
    }

    /// Leaves a consumer group as soon as the brokers can be told; for consumers that are dropped.
    pub(crate) fn leave_soon(&self, group: &str) {
        self.shared.membership.remove_consumer(group);
        // Without a runtime there are no connections either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, group) = (self.clone(), group.to_owned());
            runtime.spawn(async move { client.leave(&group, true).await });
        }
    }

    fn unregister_frame(&self, group: &str, consumes: bool) -> Frame {
        let mut frame = Frame::request(request::UNREGISTER_CLIENT);
        UnregisterClient {
            client_id: &self.shared.client_id,
            producer_group: (!consumes).then_some(group),
            consumer_group: consumes.then_some(group),
            broker_name: None,
        }
        .encode(&mut frame.ext);
        frame
    }
}

impl Shared {
    /// From now on each look at the routes also looks for brokers that our groups are not known to.
    pub(crate) fn meet_every_broker(&self) {
        self.every_broker.store(true, Ordering::Relaxed);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = self.housekeeping.lock().take() {
            task.abort();
        }
    }
}

/// Turns a reply other than success into an error.
pub(crate) fn succeeded(connection: &Connection, reply: Frame) -> Result<Frame> {
    if reply.code == response::SUCCESS {
        return Ok(reply);
    }
    Err(Error::Refused {
        address: connection.address().to_owned(),
        code: reply.code,
        remark: reply.remark.unwrap_or_default(),
    })
}

/// An answer that has the right code and the wrong content.
pub(crate) fn unreadable(connection: &Connection, reason: impl ToString) -> Error {
    Error::Answer {
        address: connection.address().to_owned(),
        reason: reason.to_string(),
    }
}

/// What brokers ask of us.
struct FromBroker {
    /// Weak: connections belong to the client, not the other way round.
    client: Weak<Shared>,
}

impl Inbound for FromBroker {
    fn connected(&self, connection: &Connection) {
        let Some(shared) = self.client.upgrade() else {
            return;
        };
        // Without this a broker that restarted could ask us nothing until the next round.
        let (client, connection) = (Client { shared }, connection.clone());
        tokio::spawn(async move {
            if let Err(error) = client.introduce(&connection).await {
                tracing::debug!(broker = connection.address(), %error, "heartbeat failed");
            }
        });
    }

    fn request(&self, connection: &Connection, asked: Frame) {
        match asked.code {
            request::CHECK_TRANSACTION_STATE => {
                if let Some(shared) = self.client.upgrade() {
                    shared.checkers.dispatch(connection, &asked);
                }
            }
            request::NOTIFY_CONSUMER_IDS_CHANGED => {
                let header = NotifyConsumerIdsChanged::decode(&asked.ext);
                if let (Some(shared), Ok(changed)) = (self.client.upgrade(), header) {
                    shared.membership.members_changed(changed.consumer_group);
                }
            }
            _ if asked.is_oneway() => {}
            code => {
                let remark = format!(" request type {code} not supported");
                let refusal = Frame::response_to(&asked, response::REQUEST_CODE_NOT_SUPPORTED);
                connection.reply(refusal.with_remark(remark));
            }
        }
    }
}

/// Heartbeats and fresh routes, as long as the client lives.
async fn housekeeping(client: Weak<Shared>) {
    let Some((heartbeat_every, routes_every)) = client.upgrade().map(|shared| {
        let settings = &shared.settings;
        (settings.heartbeat_interval, settings.route_interval)
    }) else {
        return;
    };
    let (mut heartbeat, mut routes) = (every(heartbeat_every), every(routes_every));
    loop {
        let beat = tokio::select! {
            _ = heartbeat.tick() => true,
            _ = routes.tick() => false,
        };
        let Some(shared) = client.upgrade() else {
            return;
        };
        if beat {
            heartbeat_all(&Client { shared }).await;
        } else {
            shared.routes.refresh().await;
            if shared.every_broker.load(Ordering::Relaxed)
                && let Err(error) = (Client { shared }).join_all().await
            {
                tracing::warn!(%error, "brokers not looked up");
            }
        }
    }
}

/// Ticks once a period, the first time after one. No period at all, or one of centuries, cannot be kept to.
fn every(period: Duration) -> Interval {
    const MAX: Duration = Duration::from_secs(24 * 3600);
    let period = period.clamp(Duration::from_millis(1), MAX);
    interval_at(Instant::now() + period, period)
}

async fn heartbeat_all(client: &Client) {
    let brokers: Vec<Connection> = client.shared.brokers.lock().values().cloned().collect();
    for connection in brokers {
        if let Err(error) = client.introduce(&connection).await {
            tracing::debug!(broker = connection.address(), %error, "heartbeat failed");
        }
    }
}

/// The address by which this host reaches `peer`. Connecting a UDP socket sends nothing.
async fn local_address(peer: &str) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    match socket.connect(peer).await {
        Ok(()) => Ok(socket.local_addr()?.ip()),
        // An IPv6 peer, or no route yet: the address only has to tell hosts apart where it can.
        Err(_) => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

fn default_client_id(address: IpAddr) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{address}@{}#{}", std::process::id(), now.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_period_of_nothing_or_of_centuries_ends_no_task() {
        for period in [Duration::ZERO, Duration::MAX] {
            every(period);
        }
    }
}
