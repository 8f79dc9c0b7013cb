//! Free space: when to clean, when to refuse, and the reserve that lets decisions be written to the last.

use std::sync::Arc;

use crate::disk::Disk;
use crate::{Error, Settings, Store};

/// The reserve's file.
const RESERVE_NAME: &str = "reserve";

/// Where a share of the disk is set: above this one segments leave before their time too, as with Apache.
const USED_PERCENT_FORCED: u8 = 85;

/// How the store stands with its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpaceState {
    /// Enough.
    Ok,
    /// Old segments leave before their time.
    Clean,
    /// Halfs and messages are refused; ops and metadata are written.
    RefuseNew,
    /// The reserve is gone too: everything is refused.
    RefuseAll,
}

#[derive(Debug)]
pub(crate) struct Space {
    state: SpaceState,
    free: u64,
    has_reserve: bool,
    /// Expired segments leave at any hour.
    is_tight: bool,
}

impl Space {
    pub(crate) fn open(disk: &Arc<dyn Disk>, settings: &Settings) -> Result<Space, Error> {
        let has_reserve = disk.open(RESERVE_NAME).is_ok();
        let mut space = Space {
            state: SpaceState::Ok,
            free: u64::MAX,
            has_reserve,
            is_tight: false,
        };
        space.look(disk, settings)?;
        Ok(space)
    }

    fn look(&mut self, disk: &Arc<dyn Disk>, settings: &Settings) -> Result<SpaceState, Error> {
        self.free = disk
            .free_bytes()
            .map_err(Error::disk("free space of", "."))?;
        if settings.free_bytes_reserve > 0 {
            self.keep_reserve(disk, settings)?;
        }
        let is_short = self.is_short(disk, settings)?;
        self.state = if self.free < settings.free_bytes_stop {
            SpaceState::RefuseAll
        } else if self.free < settings.free_bytes_refuse {
            SpaceState::RefuseNew
        } else if is_short {
            SpaceState::Clean
        } else {
            SpaceState::Ok
        };
        Ok(self.state)
    }

    /// Whether segments must leave before their time; notes whether expired ones should not wait for their hour.
    fn is_short(&mut self, disk: &Arc<dyn Disk>, settings: &Settings) -> Result<bool, Error> {
        let Some(percent) = settings.used_percent_clean else {
            self.is_tight = self.free < settings.free_bytes_clean;
            return Ok(self.is_tight);
        };
        let used = disk
            .used_bytes()
            .map_err(Error::disk("used space of", "."))?;
        // What only the system may take counts as neither: as `df` has it, and Apache.
        let (used, all) = (u128::from(used), u128::from(used) + u128::from(self.free));
        let is_above = |percent: u8| used * 100 > all * u128::from(percent);
        self.is_tight = is_above(percent);
        Ok(is_above(percent.max(USED_PERCENT_FORCED)))
    }

    /// Gives the reserve up when the disk is nearly full, and takes it back when there is room again.
    fn keep_reserve(&mut self, disk: &Arc<dyn Disk>, settings: &Settings) -> Result<(), Error> {
        let reserve = settings.free_bytes_reserve;
        if self.has_reserve && self.free < settings.free_bytes_stop.max(reserve / 2) {
            disk.remove(RESERVE_NAME)
                .map_err(Error::disk("remove", RESERVE_NAME))?;
            self.has_reserve = false;
            self.free = disk
                .free_bytes()
                .map_err(Error::disk("free space of", "."))?;
        } else if !self.has_reserve
            && self.free > settings.free_bytes_refuse.saturating_add(2 * reserve)
        {
            let file = disk
                .create(RESERVE_NAME)
                .map_err(Error::disk("create", RESERVE_NAME))?;
            // Without a reserve the store is as good as before; the next look tries again.
            self.has_reserve = file.allocate(reserve).is_ok();
        }
        Ok(())
    }

    pub(crate) fn is_tight(&self) -> bool {
        self.is_tight
    }

    pub(crate) fn state(&self) -> SpaceState {
        self.state
    }

    pub(crate) fn check_new(&self) -> Result<(), Error> {
        self.refuse_from(SpaceState::RefuseNew)
    }

    pub(crate) fn check_op(&self) -> Result<(), Error> {
        self.refuse_from(SpaceState::RefuseAll)
    }

    fn refuse_from(&self, limit: SpaceState) -> Result<(), Error> {
        if self.state >= limit {
            Err(Error::NoSpace { free: self.free })
        } else {
            Ok(())
        }
    }
}

impl Store {
    /// Looks at the disk and sets what is refused from now on. To be called every few seconds.
    ///
    /// # Errors
    /// The disk cannot tell.
    pub fn free_space(&mut self) -> Result<SpaceState, Error> {
        self.space.look(&self.disk, &self.settings)
    }

    /// The log may grow by so much between two looks: a part of what is left when messages begin to be refused. None: nothing
    /// is ever refused.
    pub(crate) fn look_every_bytes(&self) -> Option<u64> {
        let refuse = self.settings.free_bytes_refuse;
        (refuse > 0).then(|| (refuse / 4).max(1))
    }

    /// How the store stood at the last look.
    pub fn space_state(&self) -> SpaceState {
        self.space.state()
    }
}
