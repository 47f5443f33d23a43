//! The text of `/metrics` (Prometheus text format 0.0.4), rendered from a status document.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::instruments::{INSTRUMENTS, Instrument, Kind};
use super::status::Status;

/// The content type of the text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Renders status documents.
pub struct Exposition {
    registry: Registry,
    latest: Arc<ArcSwapOption<Status>>,
}

impl Exposition {
    /// Registers every instrument.
    ///
    /// # Errors
    /// [`prometheus::Error`] if the table has a name twice or a label that is none: a test says that it has not.
    pub fn new() -> Result<Self, prometheus::Error> {
        let (registry, latest) = (Registry::new(), Arc::new(ArcSwapOption::empty()));
        for instrument in INSTRUMENTS {
            registry.register(Box::new(Family::new(instrument, Arc::clone(&latest))?))?;
        }
        Ok(Self { registry, latest })
    }

    /// The text for `status`.
    ///
    /// # Errors
    /// [`prometheus::Error`] if the encoder refuses.
    pub fn render(&self, status: Arc<Status>) -> Result<String, prometheus::Error> {
        self.latest.store(Some(status));
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

struct Family {
    instrument: &'static Instrument,
    desc: Desc,
    latest: Arc<ArcSwapOption<Status>>,
}

impl Family {
    fn new(instrument: &'static Instrument, latest: Arc<ArcSwapOption<Status>>) -> Result<Self, prometheus::Error> {
        let labels = instrument.labels.iter().map(|&label| label.to_owned()).collect();
        let desc = Desc::new(instrument.name.to_owned(), instrument.help.to_owned(), labels, HashMap::new())?;
        Ok(Self { instrument, desc, latest })
    }

    fn metric(&self, labels: Vec<String>, value: f64) -> Metric {
        let pairs = self.instrument.labels.iter().zip(labels).map(|(&name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        match self.instrument.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        metric
    }
}

impl Collector for Family {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(status) = self.latest.load_full() else { return Vec::new() };
        let samples = (self.instrument.read)(&status);
        if samples.is_empty() {
            return Vec::new();
        }
        let mut family = MetricFamily::default();
        family.set_name(self.instrument.name.to_owned());
        family.set_help(self.instrument.help.to_owned());
        family.set_field_type(match self.instrument.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        family.set_metric(samples.into_iter().map(|(labels, value)| self.metric(labels, value)).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests;
