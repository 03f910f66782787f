//! Suspends and policies: list, add, update, delete, refill, match, groups.

use std::net::IpAddr;

use angarium_control::proto::{
    self, PolicyConditionAddRequest, PolicyConditionResponse, PolicyConditionUpdateRequest,
    PolicyGroupingListResponse, PolicyGroupingRequest, PolicyGroupingResponse, PolicyMatchRequest,
    PolicyMatchResponse, PolicyRateRefillRequest, StringValue, SuspendAddRequest, SuspendRequest,
    SuspendResponse, SuspendUpdateRequest, policy_condition_response,
    policy_grouping_list_response, policy_grouping_request, policy_match_response, suspend_request,
    suspend_response,
};
use angarium_queue::gate::{BlockKind, Field, Fields};
use angarium_queue::policy::spec::{Property, SuspendSpec};
use angarium_queue::policy::{
    Applied, Change, DynamicSpec, DynamicSuspend, Group, KeyPart, Limited, Listed, ListedSuspend,
};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;

use super::convert::{
    block, double, flags, item_fields, lifetime, policy_if, rate, string, tag, then, to_policy_if,
    ttl, unsigned, when, written,
};
use super::filter::fields_of;
use crate::delivery::{Handle, SetError, Stopped};

/// Items of a list if the request does not say.
const PAGE: usize = 100;
/// Where what the control socket sets comes from.
pub(super) const ORIGIN: &str = "control socket";

fn stopped(error: Stopped) -> String {
    error.to_string()
}

fn refused(error: &SetError) -> String {
    error.to_string()
}

fn own_id(id: &str) -> Option<Text> {
    (!id.is_empty()).then(|| id.into())
}

/// The values of fields of a suspend.
type Values<'a> = [(Field, Option<&'a StringValue>); 8];

fn suspend_values(of: &SuspendAddRequest) -> Values<'_> {
    [
        (Field::TransportId, of.transportid.as_ref()),
        (Field::LocalIp, of.localip.as_ref()),
        (Field::RemoteIp, of.remoteip.as_ref()),
        (Field::RemoteMx, of.remotemx.as_ref()),
        (Field::RecipientDomain, of.recipientdomain.as_ref()),
        (Field::JobId, of.jobid.as_ref()),
        (Field::Grouping, of.grouping.as_ref()),
        (Field::TenantId, of.tenantid.as_ref()),
    ]
}

/// `queue suspend list`: those of the configuration, those set at run time, and the limits that are
/// reached now.
pub(super) async fn list_suspends(
    queue: &Handle,
    wanted: &SuspendRequest,
) -> Result<SuspendResponse, String> {
    let limit = wanted.paging.unwrap_or_default().limit;
    let limit = match limit {
        0 => PAGE,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let condition = match &wanted.by {
        Some(suspend_request::By::Condition(condition)) => Some(condition.clone()),
        _ => None,
    };
    let pickup = match &condition {
        Some(condition) if condition.pickup => Some(pickup_fields(condition)?),
        _ => None,
    };
    let items = queue
        .policies(move |policies, now| {
            policies.expire(now);
            let listed = match &pickup {
                Some((fields, locals)) => policies.suspends_of(fields, locals),
                None => policies.list_suspends(),
            };
            let set = listed
                .into_iter()
                .map(|suspend| suspend_item(&suspend, now));
            let reached: Vec<Limited> = policies.reached(now);
            let reached = reached.iter().filter(|limited| {
                pickup
                    .as_ref()
                    .is_none_or(|(fields, locals)| limits(limited, fields, locals))
            });
            let items = set.chain(reached.map(reached_item));
            (items.collect::<Vec<_>>(), Change::None)
        })
        .await
        .map_err(stopped)?;
    let id = match &wanted.by {
        Some(suspend_request::By::Id(id)) => Some(id.as_str()),
        _ => None,
    };
    let fits = |item: &suspend_response::Item| {
        id.is_none_or(|id| item.id == id)
            && condition
                .as_ref()
                .is_none_or(|condition| fits_condition(condition, item))
    };
    let items = items.into_iter().filter(fits).take(limit).collect();
    Ok(SuspendResponse { items })
}

fn pickup_fields(condition: &suspend_request::Condition) -> Result<(Fields, Vec<IpAddr>), String> {
    fn value(of: &Option<StringValue>) -> Option<&str> {
        of.as_ref().map(|of| of.value.as_str())
    }
    let mut given = vec![
        (Field::TransportId, value(&condition.transportid)),
        (Field::RemoteIp, value(&condition.remoteip)),
        (Field::RemoteMx, value(&condition.remotemx)),
        (Field::RecipientDomain, value(&condition.recipientdomain)),
        (Field::JobId, value(&condition.jobid)),
        (Field::Grouping, value(&condition.grouping)),
        (Field::TenantId, value(&condition.tenantid)),
    ];
    let locals = condition.localips.iter();
    given.extend(locals.map(|local| (Field::LocalIp, Some(local.as_str()))));
    item_fields(&given)
}

/// Whether a limit that is reached keeps items with these values.
fn limits(limited: &Limited, fields: &Fields, locals: &[IpAddr]) -> bool {
    limited.values.iter().all(|(field, value)| {
        let text = |of: &Option<Text>| of.as_ref().is_some_and(|of| *of.to_str() == **value);
        let group = value.starts_with('#');
        // A value in a group stands for values that only the policy knows.
        group
            || match field {
                Field::TransportId => *fields.transportid.to_str() == **value,
                Field::LocalIp => {
                    locals.is_empty() || locals.iter().any(|local| local.to_string() == *value)
                }
                Field::RemoteIp => fields.remoteip.is_some_and(|ip| ip.to_string() == *value),
                Field::RemoteMx => text(&fields.remotemx),
                Field::RecipientDomain => text(&fields.recipientdomain),
                Field::JobId => text(&fields.jobid),
                Field::Grouping => text(&fields.grouping),
                Field::TenantId => text(&fields.tenantid),
            }
    })
}

fn with_values(
    mut item: suspend_response::Item,
    values: impl IntoIterator<Item = (Field, String)>,
) -> suspend_response::Item {
    let of = to_policy_if(values);
    item.transportid = of.transportid;
    item.localip = of.localip;
    item.remoteip = of.remoteip;
    item.remotemx = of.remotemx;
    item.recipientdomain = of.recipientdomain;
    item.jobid = of.jobid;
    item.grouping = of.grouping;
    item.tenantid = of.tenantid;
    item
}

fn suspend_item(suspend: &ListedSuspend, now: Timestamp) -> suspend_response::Item {
    let source = match suspend.id {
        Some(_) => suspend_response::Source::Dynamic,
        None => suspend_response::Source::Static,
    };
    let item = suspend_response::Item {
        source: Some(source.into()),
        id: suspend.id.as_ref().map(Text::to_string).unwrap_or_default(),
        ttl: ttl(suspend.expires, now),
        tag: suspend
            .spec
            .tag
            .as_ref()
            .and_then(|tag| string(tag.to_str())),
        origin: suspend.spec.origin.to_string(),
        ..Default::default()
    };
    with_values(item, written(&suspend.spec.when))
}

fn reached_item(limited: &Limited) -> suspend_response::Item {
    let source = match limited.kind {
        BlockKind::Rate => suspend_response::Source::Rate,
        BlockKind::ConnectInterval => suspend_response::Source::Connectinterval,
        _ => suspend_response::Source::Concurrency,
    };
    let tags = limited.applied.iter().flat_map(|applied| &applied.tags);
    let tags: Vec<String> = tags.map(Text::to_string).collect();
    let item = suspend_response::Item {
        source: Some(source.into()),
        tag: (!tags.is_empty()).then(|| tags.join(",")).and_then(string),
        origin: limited.origin.to_string(),
        ..Default::default()
    };
    with_values(item, limited.values.iter().cloned())
}

/// Whether a suspend is written with these values. With `pickup` they were compared already.
fn fits_condition(condition: &suspend_request::Condition, item: &suspend_response::Item) -> bool {
    let same = |wanted: &Option<StringValue>, is: &Option<StringValue>| {
        wanted.is_none() || {
            let value = |of: &Option<StringValue>| of.as_ref().map(|of| of.value.to_lowercase());
            value(wanted) == value(is)
        }
    };
    if !same(&condition.tag, &item.tag) {
        return false;
    }
    let local = item.localip.as_ref().map(|of| of.value.as_str());
    condition.pickup
        || same(&condition.transportid, &item.transportid)
            && same(&condition.remoteip, &item.remoteip)
            && same(&condition.remotemx, &item.remotemx)
            && same(&condition.recipientdomain, &item.recipientdomain)
            && same(&condition.jobid, &item.jobid)
            && same(&condition.grouping, &item.grouping)
            && same(&condition.tenantid, &item.tenantid)
            && (condition.localips.is_empty()
                || condition
                    .localips
                    .iter()
                    .any(|wanted| Some(wanted.as_str()) == local))
}

/// `queue suspend add`
pub(super) async fn add_suspend(
    queue: &Handle,
    wanted: &SuspendAddRequest,
) -> Result<proto::SuspendAddResponse, String> {
    let property = |(name, value): (&String, &String)| {
        let value = Property::Text(value.as_str().into());
        (name.as_str().into(), value)
    };
    let spec = SuspendSpec {
        when: when(&suspend_values(wanted))?,
        tag: tag(wanted.tag.as_ref())?,
        properties: wanted.properties.iter().map(property).collect(),
        origin: ORIGIN.into(),
    };
    let suspend = DynamicSuspend {
        id: own_id(&wanted.id),
        spec,
        ttl: lifetime(wanted.ttl)?,
        update: true,
    };
    let id = queue.set_suspend(suspend).await;
    let id = id.map_err(|error| refused(&error))?.to_string();
    Ok(proto::SuspendAddResponse { id })
}

/// `queue suspend update`
pub(super) async fn update_suspend(
    queue: &Handle,
    wanted: &SuspendUpdateRequest,
) -> Result<proto::SuspendUpdateResponse, String> {
    let lifetime = wanted.ttl.map(lifetime).transpose()?;
    let ttl = lifetime.map(Option::unwrap_or_default);
    let tag = tag(wanted.tag.as_ref())?;
    let found = queue.update_suspend(wanted.id.as_str().into(), tag, ttl);
    let affected = u64::from(found.await.map_err(stopped)?);
    Ok(proto::SuspendUpdateResponse { affected })
}

/// `queue suspend delete`
pub(super) async fn delete_suspend(
    queue: &Handle,
    id: &str,
) -> Result<proto::SuspendDeleteResponse, String> {
    let found = queue.delete_suspend(id.into()).await.map_err(stopped)?;
    let affected = u64::from(found);
    Ok(proto::SuspendDeleteResponse { affected })
}

/// `queue policy list`
pub(super) async fn list_policies(queue: &Handle) -> Result<PolicyConditionResponse, String> {
    let listed = queue.policies(|policies, now| {
        policies.expire(now);
        ((policies.list_policies(), now), Change::None)
    });
    let (list, now): (Vec<Listed>, Timestamp) = listed.await.map_err(stopped)?;
    let item = |listed: &Listed| policy_condition_response::Item {
        id: listed.id.to_string(),
        fields: Some(flags(&listed.fields)),
        r#if: Some(to_policy_if(written(&listed.when))),
        then: Some(then(&listed.then)),
        ttl: ttl(listed.expires, now),
        r#type: listed
            .kind
            .as_ref()
            .map(Text::to_string)
            .unwrap_or_default(),
        origin: listed.then.origin.to_string(),
    };
    Ok(PolicyConditionResponse {
        items: list.iter().map(item).collect(),
    })
}

/// `queue policy add`
pub(super) async fn add_policy(
    queue: &Handle,
    wanted: &PolicyConditionAddRequest,
) -> Result<proto::PolicyConditionAddResponse, String> {
    let nothing = proto::PolicyIf::default();
    let given = policy_if(wanted.r#if.as_ref().unwrap_or(&nothing));
    let limits = wanted.then.clone().unwrap_or_default();
    let spec = DynamicSpec {
        id: own_id(&wanted.id),
        fields: wanted.fields.as_ref().map(fields_of).unwrap_or_default(),
        when: when(&given)?,
        then: block(&limits, ORIGIN)?,
        ttl: lifetime(wanted.ttl)?,
        update: true,
        kind: own_id(&wanted.r#type),
    };
    let id = queue.set_policy(spec).await;
    let id = id.map_err(|error| refused(&error))?.to_string();
    Ok(proto::PolicyConditionAddResponse { id })
}

/// `queue policy update`
pub(super) async fn update_policy(
    queue: &Handle,
    wanted: &PolicyConditionUpdateRequest,
) -> Result<proto::PolicyConditionUpdateResponse, String> {
    let limits = wanted.then.as_ref();
    let limits = limits.map(|then| block(then, ORIGIN)).transpose()?;
    let lifetime = wanted.ttl.map(lifetime).transpose()?;
    let ttl = lifetime.map(Option::unwrap_or_default);
    let found = queue.update_policy(wanted.id.as_str().into(), limits, ttl);
    let affected = u64::from(found.await.map_err(stopped)?);
    Ok(proto::PolicyConditionUpdateResponse { affected })
}

/// `queue policy delete`
pub(super) async fn delete_policy(
    queue: &Handle,
    id: &str,
) -> Result<proto::PolicyConditionDeleteResponse, String> {
    let found = queue.delete_policy(id.into()).await.map_err(stopped)?;
    let affected = u64::from(found);
    Ok(proto::PolicyConditionDeleteResponse { affected })
}

/// `queue policy refill`: tokens for the buckets whose counters have all these values.
pub(super) async fn refill(
    queue: &Handle,
    wanted: &PolicyRateRefillRequest,
) -> Result<proto::PolicyRateRefillResponse, String> {
    if !(wanted.tokens.is_finite() && wanted.tokens >= 0.0) {
        return Err(format!("tokens: {} is no number of tokens", wanted.tokens));
    }
    let given = [
        (Field::TransportId, &wanted.transportid),
        (Field::LocalIp, &wanted.localip),
        (Field::RemoteIp, &wanted.remoteip),
        (Field::RemoteMx, &wanted.remotemx),
        (Field::RecipientDomain, &wanted.recipientdomain),
        (Field::JobId, &wanted.jobid),
        (Field::Grouping, &wanted.grouping),
        (Field::TenantId, &wanted.tenantid),
    ];
    let given: Vec<(Field, String)> = given
        .into_iter()
        .filter_map(|(field, value)| Some((field, value.as_ref()?.value.to_lowercase())))
        .collect();
    let fits = move |fields: &[Field], parts: &[KeyPart]| {
        given.iter().all(|(wanted, value)| {
            let mut parts = fields.iter().zip(parts);
            parts.any(|(field, part)| field == wanted && part.to_string().to_lowercase() == *value)
        })
    };
    let affected = queue.refill(wanted.tokens, fits).await.map_err(stopped)? as u64;
    Ok(proto::PolicyRateRefillResponse { affected })
}

/// `queue policy match`: which policies apply to an item with these values.
pub(super) async fn match_policies(
    queue: &Handle,
    wanted: &PolicyMatchRequest,
) -> Result<PolicyMatchResponse, String> {
    let (fields, _) = item_fields(&[
        (Field::TransportId, Some(&wanted.transportid)),
        (Field::LocalIp, Some(&wanted.localip)),
        (Field::RemoteIp, Some(&wanted.remoteip)),
        (Field::RemoteMx, Some(&wanted.remotemx)),
        (Field::RecipientDomain, Some(&wanted.recipientdomain)),
        (Field::JobId, Some(&wanted.jobid)),
        (Field::Grouping, Some(&wanted.grouping)),
        (Field::TenantId, Some(&wanted.tenantid)),
    ])?;
    let applied = queue.matching_policies(fields).await.map_err(stopped)?;
    let policies = applied.iter().map(match_item).collect();
    Ok(PolicyMatchResponse { policies })
}

fn match_item(applied: &Applied) -> policy_match_response::Policy {
    let groups = applied.groups.iter();
    let grouped: Vec<_> = groups
        .map(|(field, name)| (*field, format!("#{name}")))
        .collect();
    let dynamic = |(id, tag): &(Text, Option<Text>)| policy_match_response::Dynamic {
        id: id.to_string(),
        tag: tag.as_ref().map(Text::to_string).unwrap_or_default(),
    };
    let limits = &applied.limits;
    policy_match_response::Policy {
        fields: Some(flags(&applied.fields)),
        grouping: (!grouped.is_empty()).then(|| to_policy_if(grouped)),
        dynamic: applied.dynamic.iter().map(dynamic).collect(),
        tags: applied.tags.iter().map(Text::to_string).collect(),
        concurrency: limits.concurrency.and_then(|of| unsigned(u64::from(of))),
        rate: limits.rate.map(rate),
        properties: super::convert::properties(&applied.properties),
        stop: applied.stop,
        connectinterval: (limits.connect_interval).and_then(|of| double(of.as_secs_f64())),
        origins: applied.origins.iter().map(Text::to_string).collect(),
        name: applied
            .name
            .as_ref()
            .map(Text::to_string)
            .unwrap_or_default(),
    }
}

async fn groups(queue: &Handle) -> Result<Vec<Group>, String> {
    let groups = queue.inspect(|queue| queue.gate().policies().groups());
    groups.await.map_err(stopped)
}

/// `queue policy grouping list`
pub(super) async fn list_groups(
    queue: &Handle,
    paging: Option<proto::PagingRequest>,
) -> Result<PolicyGroupingListResponse, String> {
    use policy_grouping_list_response::item::Group as Of;
    let paging = paging.unwrap_or_default();
    let offset = usize::try_from(paging.offset).unwrap_or(usize::MAX);
    let limit = match paging.limit {
        0 => PAGE,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let item = |group: Group| {
        let name = group.name.to_string();
        policy_grouping_list_response::Item {
            fields: Some(flags(&group.fields)),
            group: Some(match group.field {
                Field::TransportId => Of::Transportid(name),
                Field::LocalIp => Of::Localip(name),
                Field::RemoteIp => Of::Remoteip(name),
                Field::RemoteMx => Of::Remotemx(name),
                Field::RecipientDomain => Of::Recipientdomain(name),
                Field::JobId => Of::Jobid(name),
                Field::Grouping => Of::Grouping(name),
                Field::TenantId => Of::Tenantid(name),
            }),
        }
    };
    let groups = groups(queue).await?.into_iter();
    let groupings = groups.skip(offset).take(limit).map(item).collect();
    Ok(PolicyGroupingListResponse { groupings })
}

/// `queue policy grouping show`: the values of one group.
pub(super) async fn show_group(
    queue: &Handle,
    wanted: &PolicyGroupingRequest,
) -> Result<PolicyGroupingResponse, String> {
    use policy_grouping_request::Group as Of;
    let (field, name) = match wanted.group.as_ref().ok_or("No group")? {
        Of::Transportid(name) => (Field::TransportId, name),
        Of::Localip(name) => (Field::LocalIp, name),
        Of::Remoteip(name) => (Field::RemoteIp, name),
        Of::Remotemx(name) => (Field::RemoteMx, name),
        Of::Recipientdomain(name) => (Field::RecipientDomain, name),
        Of::Jobid(name) => (Field::JobId, name),
        Of::Grouping(name) => (Field::Grouping, name),
        Of::Tenantid(name) => (Field::TenantId, name),
    };
    let fields = wanted.fields.as_ref();
    let fits = |group: &&Group| {
        group.field == field
            && group.name == *name.trim_start_matches('#')
            && fields.is_none_or(|wanted| flags(&group.fields) == *wanted)
    };
    let groups = groups(queue).await?;
    let group = groups.iter().find(fits).ok_or("No such group")?;
    let items = group.values.clone();
    Ok(PolicyGroupingResponse { items })
}
