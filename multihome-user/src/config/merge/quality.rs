//! Checks SLAs, capacities and quotas, and fills in what is not said.

use std::time::Duration;

use super::super::{
    CapacityConfig, Every, Limit, QualityConfig, QuotaConfig, SlaConfig,
    duration::TextDuration,
    error::QualityError,
    layer::{CarryLayer, QualityLayer, SlaLayer},
    origin::{Located, Origin},
    value::Ratio,
};

/// How uplinks are measured.
pub fn window(layer: QualityLayer) -> QualityConfig {
    QualityConfig {
        window: layer
            .window
            .map_or(QualityConfig::default().window, |window| window.0),
    }
}

/// What a group asks for.
pub fn sla(layer: Located<SlaLayer>) -> Result<SlaConfig, QualityError> {
    let Located { value: sla, origin } = layer;
    let time = |key, enter: Option<Duration>, leave: Option<Duration>| {
        let part = SlaConfig::LEAVE_TIME.fraction();
        let below = |enter: Duration| {
            // Whole microseconds, so that what is printed is short.
            Duration::from_micros((enter.as_micros() as f64 * part) as u64)
        };
        let print = |time| TextDuration(time).to_string();
        limit(key, (enter, leave), below, print, &origin)
    };
    if let Some(loss) = sla.loss
        && !(1..1_000_000).contains(&loss.0)
    {
        return Err(QualityError::LossRange {
            given: loss.to_string(),
            origin,
        });
    }
    let loss = limit(
        "loss",
        (sla.loss, sla.loss_leave),
        |enter| enter.times(SlaConfig::LEAVE),
        |ratio: Ratio| ratio.to_string(),
        &origin,
    )?;
    let latency = time(
        "latency",
        sla.latency.map(|time| time.0),
        sla.latency_leave.map(|time| time.0),
    )?;
    let jitter = time(
        "jitter",
        sla.jitter.map(|time| time.0),
        sla.jitter_leave.map(|time| time.0),
    )?;
    if loss.is_none() && latency.is_none() && jitter.is_none() {
        return Err(QualityError::AsksNothing(origin));
    }
    Ok(SlaConfig {
        loss,
        latency,
        jitter,
        sick_after: sla.sick_after.map_or(SlaConfig::SICK_AFTER, |time| time.0),
        well_after: sla.well_after.map_or(SlaConfig::WELL_AFTER, |time| time.0),
    })
}

fn limit<T: Copy + PartialOrd>(
    key: &'static str,
    (enter, leave): (Option<T>, Option<T>),
    below: impl Fn(T) -> T,
    print: impl Fn(T) -> String,
    origin: &Origin,
) -> Result<Option<Limit<T>>, QualityError> {
    let origin = || origin.clone();
    match (enter, leave) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(QualityError::LeaveAlone {
            origin: origin(),
            key,
        }),
        (Some(enter), Some(leave)) if leave > enter => Err(QualityError::LeaveAbove {
            origin: origin(),
            key,
            enter: print(enter),
            leave: print(leave),
        }),
        (Some(enter), leave) => Ok(Some(Limit {
            enter,
            leave: leave.unwrap_or_else(|| below(enter)),
        })),
    }
}

/// An uplink's capacity and quota.
pub fn carry(
    layer: CarryLayer,
) -> Result<(Option<CapacityConfig>, Option<QuotaConfig>), QualityError> {
    let without = |origin: &Origin, key, needs| QualityError::Without {
        origin: origin.clone(),
        key,
        needs,
    };
    let quota = match (layer.quota, layer.quota_from) {
        (None, None) => None,
        (None, Some(from)) => return Err(without(&from.origin, "quota_from", "quota")),
        (Some(quota), None) => Some(quota.value),
        (Some(quota), Some(from)) => match quota.value.every {
            Every::Month(_) => Some(QuotaConfig {
                every: Every::Month(from.value.0),
                ..quota.value
            }),
            Every::Day | Every::Week => {
                return Err(without(&from.origin, "quota_from", "a quota for the month"));
            }
        },
    };
    let spills = [
        ("spill_at", &layer.spill_at),
        ("spill_until", &layer.spill_until),
    ];
    let Some(capacity) = layer.capacity else {
        return match spills
            .into_iter()
            .find_map(|(key, spill)| Some((key, spill.as_ref()?)))
        {
            Some((key, spill)) => Err(without(&spill.origin, key, "capacity")),
            None => Ok((None, quota)),
        };
    };
    let Located {
        value: capacity,
        origin,
    } = capacity;
    if capacity.up.is_none() && capacity.down.is_none() {
        return Err(QualityError::CapacityEmpty(origin));
    }
    let at = layer
        .spill_at
        .as_ref()
        .map_or(CapacityConfig::SPILL_AT, |spill| spill.value);
    let until = layer
        .spill_until
        .as_ref()
        .map_or(at.times(CapacityConfig::SPILL_UNTIL), |spill| spill.value);
    let reason = if at < Ratio::percent(1) {
        Some("spill_at must be at least 1%")
    } else if until >= at {
        Some("spill_until must be less")
    } else {
        None
    };
    if let Some(reason) = reason {
        let written = layer.spill_until.or(layer.spill_at);
        return Err(QualityError::Spill {
            origin: written.map_or(origin, |spill| spill.origin),
            at: at.to_string(),
            until: until.to_string(),
            reason,
        });
    }
    let capacity = CapacityConfig {
        up: capacity.up,
        down: capacity.down,
        spill_at: at,
        spill_until: until,
    };
    Ok((Some(capacity), quota))
}
