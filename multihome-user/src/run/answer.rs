//! Answers what clients ask over the control socket.

use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    Gateway, RunError, drains,
    report::{self, Sources},
};
use crate::{
    control::{
        protocol::{DrainAnswer, Request, Response},
        server::Exchange,
    },
    controller::Event,
    delegation::Delegation,
    drain::Drain,
    exit,
    run_dir::RunDir,
    status::timestamp,
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
            Request::Drain { uplink, until } => self.drain(&uplink, until, run_dir)?,
            Request::Undrain { uplink } => self.undrain(&uplink, run_dir)?,
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
            drains: &self.drains,
            faults: &self.executor.dataplane.faults,
            started: self.started,
            heartbeat_age: self.heartbeat.age(now),
        };
        Response::Status(Box::new(report::status(&sources, now)))
    }

    /// Begins the drain of an uplink, or changes its end.
    fn drain(
        &mut self,
        uplink: &str,
        until: Option<Timestamp>,
        run_dir: &RunDir,
    ) -> Result<Response, RunError> {
        let id = match drains::find(&self.names, uplink) {
            Ok(id) => id,
            Err(refusal) => return Ok(Response::Refused(refusal.to_string())),
        };
        let now = timestamp(SystemTime::now());
        if let Some(until) = until.filter(|until| *until <= now) {
            return Ok(Response::Refused(format!("{until} is over")));
        }
        let before = self.drains.begin(uplink, until, now);
        let drain = self.drains.of(uplink);
        // Only another end is news.
        if before.map(|before| before.until) != Some(until) {
            let cause = drain.map(|drain| drain.to_string()).unwrap_or_default();
            self.handle(Event::Drain(id, true, cause), Instant::now())?;
        }
        Ok(self.kept_drain(
            uplink,
            before,
            drains::remark(&self.controller, id),
            run_dir,
        ))
    }

    /// Ends the drain of an uplink.
    fn undrain(&mut self, uplink: &str, run_dir: &RunDir) -> Result<Response, RunError> {
        let id = match drains::find(&self.names, uplink) {
            Ok(id) => id,
            Err(refusal) => return Ok(Response::Refused(refusal.to_string())),
        };
        let before = self.drains.end(uplink);
        if before.is_some() {
            let cause = "as told".to_owned();
            self.handle(Event::Drain(id, false, cause), Instant::now())?;
        }
        Ok(self.kept_drain(uplink, before, None, run_dir))
    }

    /// Keeps the drains, and says how one of them is now.
    fn kept_drain(
        &self,
        uplink: &str,
        before: Option<Drain>,
        remark: Option<String>,
        run_dir: &RunDir,
    ) -> Response {
        if let Err(error) = self.drains.keep(run_dir) {
            let error = exit::message(&error);
            tracing::error!("uplink {uplink}: the drain is not kept for a restart: {error}");
            return Response::Error(format!(
                "it is in force, but not kept for a restart: {error}"
            ));
        }
        Response::Drain(DrainAnswer {
            uplink: uplink.to_owned(),
            drain: self.drains.of(uplink),
            before,
            remark,
        })
    }

    /// Ends the drains whose time is up.
    pub(super) fn end_drains(&mut self, run_dir: &RunDir) -> Result<(), RunError> {
        let over = self.drains.over(timestamp(SystemTime::now()));
        for uplink in &over {
            self.drains.end(uplink);
            if let Ok(id) = drains::find(&self.names, uplink) {
                let cause = "its time is up".to_owned();
                self.handle(Event::Drain(id, false, cause), Instant::now())?;
            }
        }
        if !over.is_empty()
            && let Err(error) = self.drains.keep(run_dir)
        {
            // What is kept has its end in it.
            tracing::warn!("{}", exit::message(&error));
        }
        Ok(())
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
