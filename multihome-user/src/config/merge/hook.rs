//! Checks hooks: each alone, and their names against each other.

use super::super::{
    DEFAULT_HOOK_TIMEOUT, HookConfig, MAX_HOOKS,
    error::HookError,
    layer::HookLayer,
    origin::{Located, Origin},
    value::{CommandWord, EventName},
};
use crate::events::Kind;

/// The hooks, and where the command of each stands, or its name if it has none.
pub fn check(hooks: Vec<HookLayer>) -> Result<(Vec<HookConfig>, Vec<Origin>), HookError> {
    if let Some(extra) = hooks.get(MAX_HOOKS) {
        return Err(HookError::TooMany {
            origin: extra.name.origin.clone(),
        });
    }
    let mut names: Vec<Located<String>> = Vec::new();
    let mut checked = (Vec::new(), Vec::new());
    for hook in hooks {
        let Located { value, origin } = hook.name;
        let name = value.0;
        if let Some(first) = names.iter().find(|first| first.value == name) {
            return Err(HookError::SameName {
                origin,
                name: name.into(),
                first: first.origin.clone(),
            });
        }
        names.push(Located {
            value: name.clone(),
            origin: origin.clone(),
        });
        if hook.command.is_empty() && hook.url.is_none() {
            return Err(HookError::Nothing {
                origin,
                name: name.into(),
            });
        }
        let at = hook
            .command
            .first()
            .map_or(origin, |word| word.origin.clone());
        checked.0.push(HookConfig {
            name,
            command: check_command(hook.command)?,
            url: hook.url,
            events: check_events(hook.events)?,
            timeout: hook
                .timeout
                .map_or(DEFAULT_HOOK_TIMEOUT, |timeout| timeout.0),
        });
        checked.1.push(at);
    }
    Ok(checked)
}

fn check_command(command: Vec<Located<CommandWord>>) -> Result<Vec<String>, HookError> {
    if let Some(program) = command.first()
        && !program.value.0.starts_with('/')
    {
        return Err(HookError::NotAbsolute {
            origin: program.origin.clone(),
            program: program.value.0.as_str().into(),
        });
    }
    Ok(command.into_iter().map(|word| word.value.0).collect())
}

fn check_events(events: Vec<Located<EventName>>) -> Result<Vec<Kind>, HookError> {
    let mut kinds = Vec::new();
    for Located {
        value: EventName(kind),
        origin,
    } in events
    {
        if kinds.contains(&kind) {
            return Err(HookError::SameEvent { origin, kind });
        }
        kinds.push(kind);
    }
    Ok(kinds)
}
