//! The gateway's own traffic: what the controller knows is handed on to the thread that keeps routes.

use super::{RunError, report::Names};
use crate::{
    config::Config,
    controller::{Controller, FAMILIES},
    events::{Kind, Occurrence},
    kernel_settings::Finding,
    netlink::{Link, NetlinkError, OwnTables},
    routes::{
        Hop, Keeper,
        desired::Designer,
        keeper::{Report, Wanted},
        model::Listing,
        table_of,
    },
    status::{OwnStatus, SettingStatus},
};

/// The gateway's own traffic.
#[derive(Debug)]
pub struct OwnTraffic {
    managed: bool,
    /// What an earlier controller left.
    left: Listing,
    designer: Designer,
    wanted: Wanted,
    keeper: Option<Keeper>,
    /// How much was set again when that was last told.
    restored: u64,
}

impl OwnTraffic {
    /// Finds out what an earlier controller left; changes nothing.
    ///
    /// # Errors
    /// When the kernel does not list its rules and routes.
    pub async fn find(config: &Config) -> Result<Self, RunError> {
        let left = if config.manage_routes {
            OwnTables::open()?.list().await?
        } else {
            Listing::default()
        };
        Ok(Self {
            managed: config.manage_routes,
            left,
            designer: Designer::default(),
            wanted: Wanted::default(),
            keeper: None,
            restored: 0,
        })
    }

    /// The next hops that an earlier controller knew.
    pub fn next_hops(&self) -> impl Iterator<Item = Hop> {
        self.left.next_hops()
    }

    /// The uplinks that an earlier controller had chosen.
    fn chosen_before(&self, controller: &Controller) -> [Option<u8>; 2] {
        FAMILIES.map(|family| {
            let device = self.left.default_device(family)?;
            let mut uplinks = controller.uplinks().iter();
            let of = |link: &Link| link.ifindex == device;
            let uplink = uplinks.find(|uplink| uplink.link.as_ref().is_some_and(of));
            uplink.map(|uplink| uplink.id)
        })
    }

    /// Begins to lead the gateway's own traffic. Without the thread that does it, the rest of the gateway
    /// goes on.
    pub fn start(&mut self, controller: &Controller, names: &Names) -> Vec<Occurrence> {
        self.designer.chosen = self.chosen_before(controller);
        self.wanted = self.wanted(controller);
        match Keeper::start(self.wanted.clone()) {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(error) => {
                tracing::error!("cannot start the thread that keeps routes: {error}");
                return Vec::new();
            }
        }
        let chosen = |&family: &usize| self.designer.chosen[family].is_some();
        let tell = |family| goes_by(self.designer.chosen[family], family, names);
        FAMILIES.into_iter().filter(chosen).map(tell).collect()
    }

    /// Hands on what has changed, and says what of it people should know. Cheap when nothing has.
    pub fn update(&mut self, controller: &Controller, names: &Names) -> Vec<Occurrence> {
        if self.keeper.is_none() {
            return Vec::new();
        }
        let before = self.designer.chosen;
        let wanted = self.wanted(controller);
        if wanted == self.wanted {
            return Vec::new();
        }
        self.wanted.clone_from(&wanted);
        if let Some(keeper) = &self.keeper {
            keeper.want(wanted);
        }
        let changed = |&family: &usize| self.designer.chosen[family] != before[family];
        let tell = |family| goes_by(self.designer.chosen[family], family, names);
        FAMILIES.into_iter().filter(changed).map(tell).collect()
    }

    /// What was set again since this was last asked.
    pub fn restored(&mut self) -> Option<Occurrence> {
        let restored = self.report().restored;
        let more = restored - std::mem::replace(&mut self.restored, restored);
        (more > 0).then(|| {
            let cause = format!(
                "{more} of the gateway's own routes and rules had vanished or been changed by others, and \
                 were set again"
            );
            Occurrence::new(Kind::RoutesChanged, cause)
        })
    }

    fn wanted(&mut self, controller: &Controller) -> Wanted {
        let desired = self.managed.then(|| {
            let serving = FAMILIES.map(|family| controller.serving(family));
            self.designer.design(&controller.views(), serving)
        });
        let (devices, families) = controller.watched_devices();
        Wanted {
            desired,
            devices,
            families,
        }
    }

    /// How it stands.
    pub fn report(&self) -> Report {
        self.keeper.as_ref().map(Keeper::report).unwrap_or_default()
    }

    /// How it stands, for the status document.
    pub fn status(&self, names: &Names) -> OwnStatus {
        let report = self.report();
        let uplink = |chosen: Option<u8>| {
            let id = chosen.filter(|_| self.managed)?;
            Some(names.uplink(id).to_owned())
        };
        let [ipv4, ipv6] = self.designer.chosen.map(uplink);
        OwnStatus {
            managed: self.managed,
            ipv4,
            ipv6,
            restored: report.restored,
            problems: report.problems,
        }
    }

    /// Kernel settings that are wrong.
    pub fn settings(&self) -> Vec<SettingStatus> {
        let told = |finding: Finding| SettingStatus {
            setting: finding.setting,
            value: finding.value,
            harm: finding.harm.to_owned(),
            command: finding.command,
        };
        self.report().settings.into_iter().map(told).collect()
    }

    /// The routing table of an uplink, if there is one.
    pub fn table_of(&self, uplink: u8) -> Option<u32> {
        self.managed.then(|| table_of(uplink))
    }

    /// Whether an uplink carries the gateway's own traffic of a family.
    pub fn goes_by(&self, uplink: u8, family: usize) -> bool {
        self.managed && self.designer.chosen[family] == Some(uplink)
    }

    /// Ends; the routes stay.
    pub fn leave(self) {
        if let Some(keeper) = self.keeper {
            keeper.leave();
        }
    }

    /// Removes all routes and rules of ours, and ends.
    ///
    /// # Errors
    /// When the kernel refuses a removal.
    pub fn remove(self) -> Result<usize, NetlinkError> {
        match self.keeper {
            Some(keeper) => keeper.remove(),
            None => crate::routes::remove_all(),
        }
    }
}

/// The gateway's own traffic of a family goes by another uplink now.
fn goes_by(chosen: Option<u8>, family: usize, names: &Names) -> Occurrence {
    let cause = match chosen {
        Some(id) => format!("the gateway's own traffic goes by {}", names.uplink(id)),
        None => "the gateway's own traffic takes the kernel's routes".to_owned(),
    };
    Occurrence::new(Kind::RoutesChanged, cause).family(family)
}
