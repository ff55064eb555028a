//! Hooks: commands and web servers that are told of events.
//!
//! All of it runs in the thread of [`crate::events::Hub`]: the control loop neither waits for a hook nor
//! forks for one. Each hook has a queue of its own and takes one event after the other, so it sees
//! them in their order, and one that hangs keeps no other waiting.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::{
    config::HookConfig,
    events::{Record, Tone},
    metrics::Metrics,
};

mod check;
mod command;
mod output;
mod queue;
mod webhook;

pub use check::check;
use queue::Queue;

/// What came of telling a hook of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookResult {
    /// The command ended with code 0; the server answered with a status from 200 to 299.
    Ok,
    /// It did not.
    Failed,
    /// It took too long.
    Timeout,
    /// It was not told: too many events waited for it, or the controller ended.
    Dropped,
}

impl HookResult {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Timeout, Self::Dropped];

    /// The word for it in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Dropped => "dropped",
        }
    }
}

/// Why a hook could not be told of an event, in words.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Failed(String),
    Timeout,
}

/// All hooks of a gateway.
pub struct Hooks {
    hooks: Vec<Arc<Hook>>,
    workers: Vec<JoinHandle<()>>,
}

struct Hook {
    config: HookConfig,
    queue: Queue,
    metrics: Arc<Metrics>,
}

impl Hooks {
    /// The hooks of a configuration.
    pub fn new(config: &[HookConfig], metrics: &Arc<Metrics>) -> Self {
        let hook = |config: &HookConfig| {
            Arc::new(Hook {
                config: config.clone(),
                queue: Queue::default(),
                metrics: Arc::clone(metrics),
            })
        };
        Self {
            hooks: config.iter().map(hook).collect(),
            workers: Vec::new(),
        }
    }

    /// No hooks at all.
    #[cfg(test)]
    pub fn none() -> Self {
        Self {
            hooks: Vec::new(),
            workers: Vec::new(),
        }
    }

    /// Begins to take events, in the runtime that this is called from.
    pub fn start(&mut self) {
        self.workers = self
            .hooks
            .iter()
            .map(|hook| tokio::spawn(Arc::clone(hook).work()))
            .collect();
    }

    /// Hands an event to the hooks that want it. Never waits.
    pub fn take(&self, record: &Arc<Record>) {
        for hook in self.hooks.iter().filter(|hook| wants(&hook.config, record)) {
            if hook.queue.push(Arc::clone(record)) {
                hook.count(HookResult::Dropped, 1);
            }
        }
    }

    /// Waits until the hooks have taken what they were handed.
    pub async fn finish(&mut self) {
        for hook in &self.hooks {
            hook.queue.close();
        }
        for worker in std::mem::take(&mut self.workers) {
            // A panic in there was told already.
            let _ = worker.await;
        }
    }

    /// Gives up on what was not taken, and says so.
    pub fn give_up(&self) {
        for hook in &self.hooks {
            let left = hook.queue.clear();
            if left > 0 {
                hook.count(HookResult::Dropped, left);
                tracing::warn!(
                    "hook {}: not told of the last {left} event(s), since the controller ends",
                    hook.config.name
                );
            }
        }
    }
}

/// Whether a hook asks for an event. What a start finds in order is no news.
fn wants(config: &HookConfig, record: &Record) -> bool {
    let news = !record.initial || record.kind.tone() == Tone::Bad;
    news && (config.events.is_empty() || config.events.contains(&record.kind))
}

impl Hook {
    async fn work(self: Arc<Self>) {
        let name = &self.config.name;
        while let Some((record, dropped)) = self.queue.next().await {
            if dropped > 0 {
                tracing::warn!("hook {name}: too slow; not told of {dropped} event(s)");
            }
            if !self.config.command.is_empty() {
                let ran = command::run(&self.config, &record).await;
                self.came_of(ran, "the command", &record);
            }
            if let Some(url) = &self.config.url {
                let posted = webhook::post(url, self.config.timeout, &record).await;
                self.came_of(posted, url.shown(), &record);
            }
        }
    }

    fn came_of(&self, told: Result<(), Failure>, whom: &str, record: &Record) {
        let name = &self.config.name;
        let result = match told {
            Ok(()) => HookResult::Ok,
            Err(Failure::Failed(why)) => {
                tracing::warn!("hook {name}: {whom} failed on {}: {why}", record.kind);
                HookResult::Failed
            }
            Err(Failure::Timeout) => {
                let timeout = self.config.timeout;
                tracing::warn!(
                    "hook {name}: {whom} took longer than {timeout:?} on {}",
                    record.kind
                );
                HookResult::Timeout
            }
        };
        self.count(result, 1);
    }

    fn count(&self, result: HookResult, runs: u64) {
        self.metrics.hook_runs(&self.config.name, result, runs);
    }
}

#[cfg(test)]
mod tests;
