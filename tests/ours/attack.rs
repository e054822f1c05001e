//! The messages between the processes under attack: a compromised process cannot harm the receivers of its
//! messages, and unrelated sessions do not notice.
//!
//! The test sends in the place of the compromised process: as the parent of a role that it started itself, or
//! over a copy of a running process's descriptor.
//!
//! | sender → receiver | invalid, half, too long, descriptors | close that waits | flood | stopped, or reads nothing | flood after TERM |
//! |---|---|---|---|---|---|
//! | worker → logger | `on_the_logger::a_worker_that_violates_…` | `on_the_logger::a_lingering_socket_from_a_worker_…`, `a_lost_workers_connection_…` | `on_the_disk` | `shutdown::a_stopped_worker_…`, `blocking::a_worker_that_reads_no_acknowledgement_…` | `shutdown::a_worker_that_floods_the_logger_…` |
//! | resolver → logger | `on_the_logger::a_resolver_that_violates_…`, `blocking::answers_that_come_twice_…` | `on_the_logger::a_lingering_socket_from_the_resolver_…` | `on_the_logger::a_resolver_that_floods_…` | `blocking::a_resolver_that_reads_no_question_…` | as under flood: the logger reads 64 messages a turn |
//! | resolver → parent | `on_the_parent::invalid_messages_of_the_resolver_…` | `on_the_parent::a_lingering_socket_from_the_resolver_…` | `on_the_parent::a_resolver_that_floods_…` | `blocking::a_stopped_resolver_…`, `shutdown::with_the_resolver_stopped_…` | `on_the_parent::a_role_that_floods_the_parent_after_term_…` |
//! | zygote → parent | `on_the_parent::invalid_messages_of_the_zygote_…`, `a_worker_with_an_invalid_channel_…`, `a_worker_reported_twice_…` | `blocking::a_zygote_that_sends_a_lingering_socket_…` | `on_the_parent::a_zygote_that_floods_…`, `blocking::a_role_that_reads_nothing_more_and_floods_…` | `shutdown::with_the_zygote_stopped_…` | `on_the_parent::a_role_that_floods_the_parent_after_term_…` |
//! | logger → parent | `on_the_parent::invalid_messages_of_the_logger_…` | `on_the_parent::a_logger_that_sends_a_lingering_socket_…` | `blocking::a_logger_that_floods_the_parent_…`, `by_the_converter::a_logger_that_floods_…` | `shutdown::with_the_logger_stopped_…`, `by_the_converter::a_stopped_converter_or_logger_…` | `on_the_parent::a_role_that_floods_the_parent_after_term_…` |
//! | logger → resolver | `on_the_resolver::invalid_messages_of_the_logger_…` | `blocking::a_lingering_socket_from_the_logger_…` | `blocking::a_logger_that_floods_the_resolver_…` | the same | the resolver ends with its channel to the parent |
//! | logger → worker | `on_the_zygote::a_worker_in_a_session_accepts_no_message`, `…takes_one_session_…` | the channel carries none: `on_the_logger::the_kernel_refuses_…` | a worker is alone with its session | `backpressure`, `record_first` | the worker is killed: `shutdown` |
//! | converter → parent | `by_the_converter::invalid_messages_of_the_converter_…` | `by_the_converter::a_lingering_socket_…` | the first message out of order ends it | `by_the_converter::a_stopped_converter_or_logger_…` | the parent does not read it any more |
//! | converter → logger | `by_the_converter::a_converter_that_violates_…`, `no_text_of_a_converter_…` | `by_the_converter::a_lingering_socket_…` | `by_the_converter::a_converter_that_floods_…` | `by_the_converter::a_stopped_converter_or_logger_…` | `by_the_converter::a_converter_that_floods_…` |
//! | parent → zygote, worker | `on_the_zygote` | trusted with the sockets | trusted | `endurance::the_end_of_the_channel_alone_…` | trusted |
//! | parent → logger, resolver, converter | `on_the_logger::a_logger_that_gets_invalid_messages_…`, `on_the_resolver`, `on_the_converter` | trusted | trusted | `endurance::the_end_of_the_channel_alone_…` | trusted |
//! | peer → parent | the parent receives nothing of a peer's | `by_a_peer` | `weaknesses` | `relay`, `backpressure` | `relay::states` |
//! | lookup → resolver | `names::hostile`, `names::modules` | `SO_LINGER` is refused: `probe` | one message is read | `names::hostile::lookups_that_hang_…` | the kernel kills it at its deadline |

pub(crate) mod blocking;
pub(crate) mod by_a_peer;
pub(crate) mod by_the_converter;
pub(crate) mod logger;
pub(crate) mod on_the_converter;
pub(crate) mod on_the_disk;
pub(crate) mod on_the_logger;
pub(crate) mod on_the_parent;
pub(crate) mod on_the_resolver;
pub(crate) mod on_the_zygote;

/// `EX_SOFTWARE`: exit status after a protocol violation.
pub(crate) const NONSENSE: i32 = 70;
