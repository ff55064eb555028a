//! IPv6 prefixes that uplinks are told while the gateway runs, as by a DHCPv6 client whose provider has
//! delegated another one; kept in the run directory for the next controller.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::config::{Config, Ipv6Prefix};

/// The file in the run directory: a line with name and prefix for each uplink that was told one.
const FILE: &str = "prefixes";
/// More than 64 uplinks' lines; what is longer was not written here.
const MAX_LEN: u64 = 16 * 1024;

/// The prefixes that uplinks were told.
#[derive(Debug)]
pub struct Prefixes {
    path: PathBuf,
    told: BTreeMap<String, Ipv6Prefix>,
    /// What the configuration says of each uplink.
    configured: BTreeMap<String, Option<Ipv6Prefix>>,
}

impl Prefixes {
    /// What the controllers of this run directory were told, for uplinks that still can use it.
    ///
    /// # Errors
    /// When the file cannot be read; a line that is not understood is passed over.
    pub fn load(run_dir: &Path, config: &Config) -> io::Result<Self> {
        let path = run_dir.join(FILE);
        let text = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= MAX_LEN => fs::read_to_string(&path)?,
            Ok(_) => String::new(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let uplinks = config.uplinks.iter();
        let configured: BTreeMap<_, _> = uplinks
            .map(|uplink| (uplink.name.clone(), uplink.prefix))
            .collect();
        let usable = |name: &str| config.inside_prefix.is_some() && configured.contains_key(name);
        let told = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| usable(name))
            .filter_map(|(name, prefix)| Some((name.to_owned(), prefix.parse().ok()?)))
            .collect();
        Ok(Self {
            path,
            told,
            configured,
        })
    }

    /// Puts what was told in place of what is configured.
    pub fn apply(&self, config: &mut Config) {
        for uplink in &mut config.uplinks {
            if let Some(prefix) = self.told.get(&uplink.name) {
                uplink.prefix = Some(*prefix);
            }
        }
    }

    /// Notes what an uplink was told, or that it goes back to what is configured; the prefix that it
    /// has from now on.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing has changed.
    pub fn tell(
        &mut self,
        name: &str,
        prefix: Option<Ipv6Prefix>,
    ) -> io::Result<Option<Ipv6Prefix>> {
        let mut told = self.told.clone();
        match prefix {
            Some(prefix) => told.insert(name.to_owned(), prefix),
            None => told.remove(name),
        };
        let lines: String = told
            .iter()
            .map(|(name, prefix)| format!("{name} {prefix}\n"))
            .collect();
        // Written beside it: a controller that is killed meanwhile leaves the old one whole.
        let new = self.path.with_extension("new");
        fs::write(&new, lines)?;
        fs::rename(&new, &self.path)?;
        self.told = told;
        let configured = self.configured.get(name).copied().flatten();
        Ok(prefix.or(configured))
    }

    /// Removes the file from a run directory that is given up.
    pub fn forget(run_dir: &Path) {
        // What is left does no harm: the next controller takes it for what it is.
        let _ = fs::remove_file(run_dir.join(FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn config(dir: &Path, inside: &str) -> Config {
        let file = dir.join("c.toml");
        let text = format!(
            "lan = [\"lan0\"]\n{inside}\n[[uplink]]\nname = \"a\"\ndevice = \"wan0\"\n\
             [[uplink]]\nname = \"b\"\ndevice = \"wan1\"\n{}",
            if inside.is_empty() {
                ""
            } else {
                "prefix = \"2001:db8:b::/48\"\n"
            }
        );
        fs::write(&file, text).unwrap();
        Config::load(Some(&file), Flags::default()).unwrap()
    }

    const INSIDE: &str = "inside_prefix = \"fd00:1:2::/48\"";

    #[test]
    fn what_was_told_is_there_for_the_next_controller() {
        let dir = tempfile::tempdir().unwrap();
        let mut now = config(dir.path(), INSIDE);
        let prefix: Ipv6Prefix = "2001:db8:5::/56".parse().unwrap();
        let mut prefixes = Prefixes::load(dir.path(), &now).unwrap();
        assert_eq!(prefixes.tell("a", Some(prefix)).unwrap(), Some(prefix));
        assert_eq!(prefixes.tell("b", Some(prefix)).unwrap(), Some(prefix));
        let configured = "2001:db8:b::/48".parse().ok();
        assert_eq!(prefixes.tell("b", None).unwrap(), configured);

        Prefixes::load(dir.path(), &now).unwrap().apply(&mut now);
        assert_eq!(now.uplinks[0].prefix, Some(prefix));
        assert_eq!(now.uplinks[1].prefix, configured);

        // Nothing is translated any more: what was told has no use.
        let mut without = config(dir.path(), "");
        let prefixes = Prefixes::load(dir.path(), &without).unwrap();
        prefixes.apply(&mut without);
        assert_eq!(without.uplinks[0].prefix, None);

        Prefixes::forget(dir.path());
        let mut anew = config(dir.path(), INSIDE);
        Prefixes::load(dir.path(), &anew).unwrap().apply(&mut anew);
        assert_eq!(anew.uplinks[0].prefix, None);
    }

    #[test]
    fn a_broken_file_breaks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut now = config(dir.path(), INSIDE);
        for text in [
            "a",
            "a 2001:db8::1/48\nc 2001:db8::/48\n\u{0} x",
            &"x".repeat(20_000),
        ] {
            fs::write(dir.path().join(FILE), text).unwrap();
            Prefixes::load(dir.path(), &now).unwrap().apply(&mut now);
            assert_eq!(now.uplinks[0].prefix, None);
        }
    }
}
