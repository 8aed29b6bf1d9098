//! What the MQTT server and the store count, as figures of `/metrics`.

use graphql_api::{Figure, Values};
use ingest::{Closed, Counters, Reason};
use store::LogState;

/// The counters of an MQTT server, as they stand.
pub(crate) fn mqtt(counters: &Counters) -> Vec<Figure> {
    let figure = |name, help, gauge, value| Figure {
        name,
        help,
        gauge,
        values: Values::One(value),
    };
    let counter = |name, help, value| figure(name, help, false, value);
    let gauge = |name, help, value| figure(name, help, true, value);
    vec![
        gauge(
            "twin_mqtt_connections",
            "MQTT connections open now",
            counters.connections(),
        ),
        gauge(
            "twin_mqtt_in_flight",
            "Publishes that wait for their commit",
            counters.in_flight(),
        ),
        counter(
            "twin_mqtt_connected",
            "MQTT clients that were let in",
            counters.connected(),
        ),
        counter(
            "twin_mqtt_messages",
            "Publishes received",
            counters.messages(),
        ),
        counter(
            "twin_mqtt_bytes",
            "Payload bytes received",
            counters.bytes(),
        ),
        counter(
            "twin_mqtt_accepted",
            "Publishes whose readings are durable",
            counters.accepted(),
        ),
        counter(
            "twin_mqtt_readings",
            "Readings of publishes that are durable",
            counters.readings(),
        ),
        counter(
            "twin_mqtt_relayed",
            "Publishes passed on in opened namespaces",
            counters.relayed(),
        ),
        counter(
            "twin_mqtt_failed",
            "Publishes that could be neither committed nor kept, so were not acknowledged",
            counters.failed(),
        ),
        counter(
            "twin_mqtt_delivered",
            "Messages sent to subscribers",
            counters.delivered(),
        ),
        counter(
            "twin_mqtt_dropped",
            "Messages to subscribers that a full queue or their absence dropped",
            counters.dropped(),
        ),
        counter(
            "twin_mqtt_expired",
            "Messages whose time was over before their subscriber could have them",
            counters.expired(),
        ),
        gauge(
            "twin_mqtt_sessions",
            "Sessions kept between connections",
            counters.sessions(),
        ),
        counter(
            "twin_mqtt_sessions_dropped",
            "Sessions that were not kept because as many as may be are",
            counters.sessions_dropped(),
        ),
        gauge(
            "twin_mqtt_retained",
            "Messages retained in opened namespaces",
            counters.retained(),
        ),
        counter(
            "twin_mqtt_not_retained",
            "Messages that were not retained because as many as may be are",
            counters.not_retained(),
        ),
        counter(
            "twin_mqtt_accept_errors",
            "Connections that the system did not give",
            counters.accept_errors(),
        ),
        Figure {
            name: "twin_mqtt_refused",
            help: "Publishes that became dead letters, by reason",
            gauge: false,
            values: Values::By(
                "reason",
                Reason::ALL
                    .map(|reason| (reason.name(), counters.refused(reason)))
                    .into(),
            ),
        },
        Figure {
            name: "twin_mqtt_closed",
            help: "MQTT connections that ended, by reason",
            gauge: false,
            values: Values::By(
                "reason",
                Closed::ALL
                    .map(|closed| (closed.name(), counters.closed(closed)))
                    .into(),
            ),
        },
    ]
}

/// The logs of changes and of readings, as they stand.
pub(crate) fn logs([changes, readings]: [LogState; 2]) -> Vec<Figure> {
    let gauge = |name, help, of: fn(&LogState) -> u64| Figure {
        name,
        help,
        gauge: true,
        values: Values::By(
            "log",
            vec![("changes", of(&changes)), ("readings", of(&readings))],
        ),
    };
    vec![
        gauge("twin_log_kept_bytes", "Bytes of a log", |log| log.bytes),
        gauge(
            "twin_log_kept_bytes_limit",
            "Bytes of a log above which its oldest part goes; 0: no limit",
            |log| log.keep.bytes.unwrap_or(0),
        ),
        gauge(
            "twin_log_kept_seconds_limit",
            "Seconds after which a part of a log goes; 0: no limit",
            |log| log.keep.time.map_or(0, |time| time.as_secs()),
        ),
        gauge(
            "twin_log_first_offset",
            "Offset from which on a log is there",
            |log| log.first,
        ),
    ]
}
