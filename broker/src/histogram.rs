//! How often which sizes came: what Prometheus calls a histogram.

/// Counts by upper bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Histogram {
    pub(crate) bounds: &'static [u64],
    /// Not cumulative; one more than there are bounds, for what lies above all.
    pub(crate) buckets: Vec<u64>,
    pub(crate) sum: u64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [u64]) -> Histogram {
        Histogram {
            bounds,
            buckets: vec![0; bounds.len() + 1],
            sum: 0,
        }
    }

    /// `times` things of this size.
    pub(crate) fn add(&mut self, size: u64, times: u64) {
        let at = self.bounds.partition_point(|bound| *bound < size);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += times;
        }
        self.sum = self.sum.saturating_add(size.saturating_mul(times));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&[10, 100]);
        for (size, times) in [(0, 1), (10, 2), (11, 1), (101, 3)] {
            histogram.add(size, times);
        }
        assert_eq!(histogram.buckets, [3, 1, 3]);
        assert_eq!(histogram.sum, 20 + 11 + 303);
    }
}
