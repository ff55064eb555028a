//! Lays the flags' damping over the file's.

use super::super::{
    DampingConfig, duration::TextDuration, error::ConfigError, layer::DampingLayer, origin::Located,
};

/// The damping in force.
pub fn merge(below: DampingLayer, above: DampingLayer) -> Result<DampingConfig, ConfigError> {
    let usual = DampingConfig::default();
    let hold = above
        .hold
        .or(below.hold)
        .map_or(usual.hold, |value| value.0);
    let max_hold = match above.max_hold.or(below.max_hold) {
        // Who asks for a longer one and nothing else means it.
        None => DampingConfig::USUAL_MAX_HOLD.max(hold),
        Some(Located { value, origin }) if value.0 < hold => {
            return Err(ConfigError::MaxHold {
                origin,
                max_hold: TextDuration(value.0),
                hold: TextDuration(hold),
            });
        }
        Some(Located { value, .. }) => value.0,
    };
    Ok(DampingConfig {
        hold,
        max_hold,
        forget: above
            .forget
            .or(below.forget)
            .map_or(usual.forget, |value| value.0),
    })
}
