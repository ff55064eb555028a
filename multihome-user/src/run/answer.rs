//! Answers what clients ask over the control socket.

use std::time::Instant;

use tokio::sync::oneshot;

use super::{
    Gateway, RunError,
    report::{self, Sources},
};
use crate::{
    control::{
        protocol::{Request, Response},
        server::Exchange,
    },
    controller::Event,
    delegation::Delegation,
    exit,
    run_dir::RunDir,
};

impl Gateway {
    /// Answers a client; gives back the answer's place when everything is to be detached first.
    pub(super) fn answer(
        &mut self,
        Exchange { request, reply }: Exchange,
        run_dir: &RunDir,
    ) -> Result<Option<oneshot::Sender<Response>>, RunError> {
        let response = match request {
            Request::Status {} => self.status(),
            Request::Prefixes { uplink } => self.prefixes(uplink.as_deref()),
            Request::SetPrefix { uplink, prefix } => self.set_prefix(&uplink, prefix, run_dir)?,
            // Their readers were let in elsewhere.
            Request::Events(_) => Response::Error("events are told elsewhere".into()),
            Request::Detach {} => return Ok(Some(reply)),
        };
        // A client that left takes no answer.
        let _ = reply.send(response);
        Ok(None)
    }

    fn status(&mut self) -> Response {
        let now = Instant::now();
        self.shares.sample(&self.names, &self.reader, now);
        let sources = Sources {
            controller: &self.controller,
            names: &self.names,
            reader: &self.reader,
            shares: &self.shares,
            own: &self.own,
            started: self.started,
            heartbeat_age: self.heartbeat.age(now),
        };
        Response::Status(Box::new(report::status(&sources, now)))
    }

    fn prefixes(&self, uplink: Option<&str>) -> Response {
        match self.prefixes.in_force(uplink, &self.controller) {
            Ok(prefixes) => Response::Prefixes(prefixes),
            Err(refusal) => Response::Refused(refusal.to_string()),
        }
    }

    /// Takes a prefix that is told, at once, and then keeps it.
    fn set_prefix(
        &mut self,
        uplink: &str,
        delegation: Delegation,
        run_dir: &RunDir,
    ) -> Result<Response, RunError> {
        if let Err(refusal) = self.prefixes.check(uplink, delegation) {
            return Ok(Response::Refused(refusal.to_string()));
        }
        let id = self.names.uplinks.iter().find(|(_, name)| name == uplink);
        if let Some(&(id, _)) = id
            && self.prefixes.take(uplink, delegation)
        {
            let event = Event::Delegated(id, delegation.prefix());
            self.handle(event, Instant::now())?;
            let names = &self.names;
            self.telemetry.prefix_changed(id, delegation, names);
        }
        if let Err(error) = self.prefixes.keep(run_dir) {
            let error = exit::message(&error);
            tracing::error!("uplink {uplink}: the prefix is not kept for a restart: {error}");
            return Ok(Response::Error(format!(
                "{delegation} is in force, but it is not kept for a restart: {error}"
            )));
        }
        Ok(self.prefixes(Some(uplink)))
    }
}
