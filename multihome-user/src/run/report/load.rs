//! What uplinks carry, for the status document.

use crate::{
    config::Rate,
    controller::Quality,
    status::{DirectionStatus, LoadStatus, QuotaStatus},
};

/// What an uplink with a capacity carries.
pub fn load(quality: &Quality, id: u8) -> Option<LoadStatus> {
    let meter = quality.meter(id)?;
    let rates = meter.rates();
    let direction = |capacity: Option<Rate>, rate: Option<f64>| {
        capacity.map(|capacity| DirectionStatus {
            capacity: capacity.0,
            rate: rate.map(|rate| rate as u64),
        })
    };
    let capacity = meter.capacity();
    Some(LoadStatus {
        up: direction(capacity.up, rates.map(|rates| rates.up)),
        down: direction(capacity.down, rates.map(|rates| rates.down)),
        full: meter.is_full(),
    })
}

/// What an uplink with a quota has used of it.
pub fn quota(quality: &Quality, id: u8) -> Option<QuotaStatus> {
    let account = quality.account(id)?;
    let (quota, used) = (account.quota(), account.used());
    Some(QuotaStatus {
        quota: quota.to_string(),
        limit_bytes: quota.limit.0,
        used_bytes: used,
        used: used as f64 / quota.limit.0 as f64,
        renews: account.renews(),
        spent: account.is_spent(),
    })
}
