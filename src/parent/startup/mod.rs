//! Steps of the start, in the order of `parent::run`: identity, inherited descriptors, endpoints, files of root,
//! the roles, and the parent's own confinement.

pub(super) mod confine;
pub(super) mod daemon;
pub(super) mod denied;
pub(super) mod descriptors;
pub(super) mod endpoints;
pub(super) mod identity;
pub(super) mod inherited;
pub(super) mod limits;
pub(super) mod own_file;
pub(super) mod pidfile;
pub(super) mod roles;
pub(super) mod stop;
pub(super) mod streams;
