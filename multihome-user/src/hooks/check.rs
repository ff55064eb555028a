//! Whether the commands of hooks can be run, and by nobody else's doing, asked before anything is touched.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use nix::unistd::{AccessFlags, Uid, access};

use crate::{
    config::{Config, ConfigError, HookError, HookUrl, Origin},
    probe::exchange::authorities,
};

/// Checks the commands of all hooks.
///
/// # Errors
/// Names the first command that is not there, cannot be executed, or could be changed by other users; and the
/// first server that could not be told from another, since this system trusts no certificate authority.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let origins = config.origins.hooks.iter();
    for (hook, origin) in config.hooks.iter().zip(origins) {
        if hook.url.as_ref().is_some_and(HookUrl::is_tls)
            && let Err(source) = authorities()
        {
            let (origin, name) = (origin.clone(), hook.name.as_str().into());
            return Err(HookError::NoAuthorities {
                origin,
                name,
                source,
            }
            .into());
        }
        let Some(program) = hook.command.first() else {
            continue;
        };
        if let Err(reason) = check_program(Path::new(program)) {
            return Err(HookError::Unfit {
                origin: Origin::clone(origin),
                program: program.as_str().into(),
                reason,
            }
            .into());
        }
    }
    Ok(())
}

fn check_program(program: &Path) -> Result<(), String> {
    let metadata = fs::metadata(program).map_err(|error| format!("cannot be run: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    if access(program, AccessFlags::X_OK).is_err() || metadata.mode() & 0o111 == 0 {
        return Err("is not executable; chmod +x it".into());
    }
    // Whoever can write to it could have it run what he likes, with this process's privileges.
    let real = fs::canonicalize(program).map_err(|error| format!("cannot be run: {error}"))?;
    // Both the place itself and the links that lead there.
    for place in program.ancestors().chain(real.ancestors()) {
        let metadata = fs::symlink_metadata(place)
            .map_err(|error| format!("cannot be looked at: {}: {error}", place.display()))?;
        let ours = metadata.uid() == 0 || metadata.uid() == Uid::effective().as_raw();
        // In a sticky directory only a file's owner can replace it. The mode of a link means nothing.
        let sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        let writable = metadata.mode() & 0o022 != 0 && !sticky && !metadata.is_symlink();
        if !ours || writable {
            return Err(format!(
                "could be changed by other users: {} has mode {:03o} and owner {}",
                place.display(),
                metadata.mode() & 0o7777,
                metadata.uid()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_a_program_that_nobody_else_can_change_is_fit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("hook");
        let told = |program: &Path| {
            check_program(program).map_err(|reason| {
                reason
                    .split([':', ';'])
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        assert_eq!(told(&program), Err("cannot be run".into()));
        assert_eq!(told(folder.path()), Err("is not a file".into()));
        fs::write(&program, "#!/bin/sh\n").expect("it can be written");
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        set_mode(&program, 0o600);
        assert_eq!(told(&program), Err("is not executable".into()));
        set_mode(&program, 0o700);
        assert_eq!(told(&program), Ok(()));
        set_mode(&program, 0o722);
        assert_eq!(
            told(&program),
            Err("could be changed by other users".into())
        );
        set_mode(&program, 0o700);
        set_mode(folder.path(), 0o770);
        assert_eq!(
            told(&program),
            Err("could be changed by other users".into())
        );
        set_mode(folder.path(), 0o1777);
        assert_eq!(told(&program), Ok(()));
        // A link in a folder that others can change leads where they like.
        let open = folder.path().join("open");
        fs::create_dir(&open).expect("it can be made");
        std::os::unix::fs::symlink(&program, open.join("link")).expect("it can be made");
        set_mode(&open, 0o755);
        assert_eq!(told(&open.join("link")), Ok(()));
        set_mode(&open, 0o757);
        assert_eq!(
            told(&open.join("link")),
            Err("could be changed by other users".into())
        );
    }
}
