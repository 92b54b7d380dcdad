//! What the daemon tells of itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::http;
use super::space::Space;

/// Where the daemon under measurement serves its metrics, inside its namespace.
pub(crate) const PORT: u16 = 9178;

/// Longest that the daemon worked on one event since it started.
pub(crate) fn longest_event(space: &Space) -> Result<Duration> {
    let seconds = value(&page(space)?, "biplane_event_longest_seconds").context("no biplane_event_longest_seconds")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// The sum of all lines of a metric that have these labels.
pub(crate) fn sum(space: &Space, name: &str, labels: &str) -> Result<u64> {
    let page = page(space)?;
    let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(labels));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum::<f64>() as u64)
}

fn page(space: &Space) -> Result<String> {
    let stream = space.connect(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    http::get(stream, "/metrics")
}

fn value(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "# HELP a_b x\na_b_c 7\na_b 0.25\n";
        assert_eq!(super::value(page, "a_b"), Some(0.25));
        assert_eq!(super::value(page, "a"), None);
    }
}
