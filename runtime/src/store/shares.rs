//! Which versions of a worker serve, and how much each of them.

use super::model::VersionId;

/// All requests, in basis points.
const WHOLE: u16 = 10_000;

/// A part of all requests: at least one basis point, at most all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// All requests.
    pub const WHOLE: Self = Self(WHOLE);

    /// So many basis points.
    ///
    /// # Errors
    /// When that is nothing, or more than everything.
    pub fn new(basis_points: u16) -> Result<Self, SharesError> {
        match basis_points {
            1..=WHOLE => Ok(Self(basis_points)),
            _ => Err(SharesError::Weight(basis_points)),
        }
    }

    /// In basis points.
    #[must_use]
    pub fn basis_points(self) -> u16 {
        self.0
    }
}

/// What one version has of its worker's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which version.
    pub version: VersionId,
    /// How much.
    pub weight: Weight,
}

/// Shares of at least one version, each version once, that come to exactly everything. The oldest version is first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(Vec<Share>);

/// Why shares are none. Whoever wrote them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharesError {
    /// Of one version.
    #[error("{0} basis points are no share: give each version from 1 to 10000, and leave out one that has none")]
    Weight(u16),
    /// Of all together.
    #[error("the shares come to {0} basis points: they must come to 10000")]
    Sum(u32),
    /// One version twice.
    #[error("version {0} has two shares: give it their sum")]
    Twice(VersionId),
}

impl Shares {
    /// Everything to one version.
    #[cfg(test)]
    #[must_use]
    pub fn whole(version: VersionId) -> Self {
        Self(vec![Share { version, weight: Weight::WHOLE }])
    }

    /// These.
    ///
    /// # Errors
    /// When they do not come to exactly everything, or name a version twice.
    pub fn new(shares: impl IntoIterator<Item = Share>) -> Result<Self, SharesError> {
        let mut shares: Vec<Share> = shares.into_iter().collect();
        shares.sort_by_key(|share| share.version);
        if let Some(pair) = shares.windows(2).find(|pair| pair[0].version == pair[1].version) {
            return Err(SharesError::Twice(pair[0].version));
        }
        match shares.iter().map(|share| u32::from(share.weight.0)).sum() {
            sum if sum == u32::from(WHOLE) => Ok(Self(shares)),
            sum => Err(SharesError::Sum(sum)),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Share> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(version: VersionId, basis_points: u16) -> Share {
        Share { version, weight: Weight::new(basis_points).unwrap() }
    }

    #[test]
    fn shares_come_to_exactly_everything() {
        let (one, two) = (VersionId::fresh(), VersionId::fresh());
        assert!(
            Shares::new([share(two, 1), share(one, 9_999)]).unwrap().iter().map(|share| share.version).eq([one, two])
        );
        assert_eq!(Shares::new([share(one, 10_000)]).unwrap(), Shares::whole(one));
        assert_eq!(Shares::new([]), Err(SharesError::Sum(0)));
        assert_eq!(Shares::new([share(one, 9_999)]), Err(SharesError::Sum(9_999)));
        assert_eq!(Shares::new([share(one, 10_000), share(two, 10_000)]), Err(SharesError::Sum(20_000)));
        assert_eq!(Shares::new([share(one, 5_000), share(one, 5_000)]), Err(SharesError::Twice(one)));
    }

    #[test]
    fn a_share_is_neither_nothing_nor_more_than_everything() {
        for basis_points in [0, 10_001, u16::MAX] {
            assert_eq!(Weight::new(basis_points), Err(SharesError::Weight(basis_points)));
        }
        assert_eq!(Weight::new(10_000), Ok(Weight::WHOLE));
    }
}
