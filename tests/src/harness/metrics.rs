//! Reading a metrics page (Prometheus text format).

use std::collections::BTreeMap;

use super::http;
use anyhow::{Result, bail};
use std::net::SocketAddr;

/// The values of a metrics page by name with labels, as they are written there.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Fetches a hub's page.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn fetch(http: SocketAddr) -> Result<Self> {
        match http::get(http, "/metrics")? {
            (200, text) => Ok(Self::parse(&text)),
            (code, text) => bail!("/metrics answered {code}: {text:.80}"),
        }
    }

    /// Reads a page; lines that are none are passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(pair).collect())
    }

    /// The sum over all labels of a name; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.with(name, "").map(|(_, value)| value).sum()
    }

    /// Values of a name whose labels contain `part`.
    pub fn with<'a>(
        &'a self,
        name: &'a str,
        part: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        self.0
            .range(name.to_owned()..)
            .map_while(move |(full, value)| {
                let labels = full.strip_prefix(name)?;
                Some((labels, *value))
            })
            .filter(move |(labels, _)| {
                (labels.is_empty() || labels.starts_with('{')) && labels.contains(part)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_over_their_labels() {
        let page = "# TYPE rows counter\nrows{library=\"a\"} 2\nrows{library=\"b\"} 3\nrows_max 9\n\nidle 1e3\n";
        let metrics = Metrics::parse(page);
        assert_eq!(metrics.sum("rows"), 5.0);
        assert_eq!(metrics.sum("rows_max"), 9.0);
        assert_eq!(metrics.sum("idle"), 1000.0);
        assert_eq!(metrics.sum("none"), 0.0);
        assert_eq!(metrics.with("rows", "\"b\"").count(), 1);
    }
}
