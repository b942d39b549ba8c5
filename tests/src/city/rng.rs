//! Reproducible randomness and exact division of totals.
//!
//! Written here instead of using `rand`: that crate promises no value stability over its versions,
//! and the city's files must have the same bytes after any update of a dependency.

/// `splitmix64` (Steele, Lea, Flood 2014): a 64-bit counter passed through a mixing function.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of one seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A sequence of its own for one index below a seed, so that row `index` can be made without
    /// the rows before it.
    pub fn of(seed: u64, index: u64) -> Self {
        Self(mix(seed ^ mix(index.wrapping_add(GOLDEN))))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the choices, which may not be empty.
    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Divides `total` in proportion to the weights, each share at least `least`, so that the shares
/// add up to `total` exactly (largest remainder; ties go to the earlier share).
///
/// `total` must be at least `least · weights.len()` and one weight above 0.
pub fn apportion(total: u64, weights: &[u64], least: u64) -> Vec<u64> {
    let spare = u128::from(total - least * weights.len() as u64);
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let exact = |weight: &u64| spare * u128::from(*weight);
    let mut shares: Vec<u64> =
        weights.iter().map(|weight| least + (exact(weight) / sum) as u64).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|index| std::cmp::Reverse(exact(&weights[*index]) % sum));
    let missing = total - shares.iter().sum::<u64>();
    for index in by_remainder.into_iter().take(missing as usize) {
        shares[index] += 1;
    }
    shares
}

/// A fixed permutation of `0..count`: data files are not sorted by key, as a real extract is not.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    count: u64,
    factor: u64,
}

impl Shuffle {
    /// The permutation of `0..count`.
    pub fn new(count: u64) -> Self {
        // Near the golden section of the range neighbours land far apart.
        let start = (count as u128 * 618_034 / 1_000_000) as u64 | 1;
        let factor = (start..).find(|factor| coprime(*factor, count)).unwrap_or(1);
        Self { count, factor }
    }

    /// Where `index` goes; each place is taken once.
    pub fn place(&self, index: u64) -> u64 {
        (u128::from(index) * u128::from(self.factor) % u128::from(self.count)) as u64
    }
}

fn coprime(mut a: u64, mut b: u64) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_never_changes() {
        // First outputs of the published reference implementation for seed 0.
        let mut rng = Rng::new(0);
        assert_eq!(rng.draw(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(rng.draw(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn shares_add_up_and_respect_the_least() {
        let shares = apportion(1_000, &[0, 1, 7, 100], 3);
        assert_eq!(shares.iter().sum::<u64>(), 1_000);
        assert_eq!(shares[0], 3);
        assert!(shares.is_sorted());
    }

    #[test]
    fn a_shuffle_takes_each_place_once() {
        for count in [1, 2, 37, 94, 2_235] {
            let shuffle = Shuffle::new(count);
            let mut places: Vec<u64> = (0..count).map(|index| shuffle.place(index)).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..count), "{count}");
        }
    }
}
