"""The clouds' bills, as their exports to BigQuery have them: what the costs of workers come from.

Here belong the columns as the clouds document them, all of them, so that what is tried locally
cannot differ from what is read in production. Others fill these tables; what we make of them is
`costs` and `workers`.
"""

from __future__ import annotations

from fxci_assets.tables.spec import Column, Source, nullable, repeated

_LABELS = (
    nullable("key", "STRING", "Name."),
    nullable("value", "STRING", "Value."),
)

GCP = Source(
    name="gcp",
    title="Bill of Google Cloud",
    description=(
        "Google's resource-level export: one row for each resource, SKU and hour. Rows are only "
        "ever added; what was wrong is corrected by further rows. Usually complete by 18:00 UTC of "
        "the next day, at worst a month later."
    ),
    columns=(
        nullable("billing_account_id", "STRING", "The account that pays."),
        nullable(
            "service",
            "RECORD",
            "The service, such as Compute Engine.",
            fields=(
                nullable("id", "STRING", "Its id."),
                nullable("description", "STRING", "Its name."),
            ),
        ),
        nullable(
            "sku",
            "RECORD",
            "What of the service is billed.",
            fields=(
                nullable("id", "STRING", "Its id."),
                nullable("description", "STRING", "Its name."),
            ),
        ),
        nullable("usage_start_time", "TIMESTAMP", "Start of the hour; its UTC day is the day."),
        nullable("usage_end_time", "TIMESTAMP", "End of the hour."),
        nullable(
            "project",
            "RECORD",
            "The project that used it.",
            fields=(
                nullable("id", "STRING", "Its id, such as fxci-production-level1-workers."),
                nullable("number", "STRING", "Its number, which is in resource names."),
                nullable("name", "STRING", "Its name."),
                repeated("labels", "RECORD", "Its labels.", fields=_LABELS),
                nullable("ancestry_numbers", "STRING", "Numbers of what it belongs to."),
                repeated(
                    "ancestors",
                    "RECORD",
                    "What it belongs to.",
                    fields=(
                        nullable("resource_name", "STRING", "Its resource name."),
                        nullable("display_name", "STRING", "Its name."),
                    ),
                ),
            ),
        ),
        repeated("labels", "RECORD", "Labels of the resource.", fields=_LABELS),
        repeated("system_labels", "RECORD", "What Google says of the resource.", fields=_LABELS),
        nullable(
            "location",
            "RECORD",
            "Where it was used.",
            fields=(
                nullable("location", "STRING", "Region, zone or country."),
                nullable("country", "STRING", "Country."),
                nullable("region", "STRING", "Region."),
                nullable("zone", "STRING", "Zone."),
            ),
        ),
        nullable("export_time", "TIMESTAMP", "When the row was exported."),
        nullable("cost", "FLOAT", "Cost before credits, in the currency; negative corrects."),
        nullable("currency", "STRING", "Currency of the amounts."),
        nullable("currency_conversion_rate", "FLOAT", "Rate from US dollars."),
        nullable(
            "usage",
            "RECORD",
            "How much was used.",
            fields=(
                nullable("amount", "FLOAT", "Amount in the unit."),
                nullable("unit", "STRING", "Unit in which it is measured."),
                nullable("amount_in_pricing_units", "FLOAT", "Amount in the pricing unit."),
                nullable("pricing_unit", "STRING", "Unit in which it is priced."),
            ),
        ),
        repeated(
            "credits",
            "RECORD",
            "What is taken off the cost.",
            fields=(
                nullable("name", "STRING", "What it is for."),
                nullable("amount", "FLOAT", "Its amount, negative."),
                nullable("full_name", "STRING", "What it is for, in full."),
                nullable("id", "STRING", "Its id."),
                nullable("type", "STRING", "Its type, such as COMMITTED_USAGE_DISCOUNT."),
            ),
        ),
        nullable(
            "invoice",
            "RECORD",
            "The invoice it is on.",
            fields=(
                nullable("month", "STRING", "Its month, as YYYYMM."),
                nullable("publisher_type", "STRING", "GOOGLE or PARTNER."),
            ),
        ),
        nullable("cost_type", "STRING", "regular, tax, adjustment or rounding_error."),
        nullable(
            "adjustment_info",
            "RECORD",
            "Of an adjustment: what it adjusts.",
            fields=(
                nullable("id", "STRING", "Its id."),
                nullable("description", "STRING", "Why."),
                nullable("mode", "STRING", "How, such as PARTIAL_CORRECTION."),
                nullable("type", "STRING", "What, such as USAGE_CORRECTION."),
            ),
        ),
        nullable(
            "resource",
            "RECORD",
            "What was used.",
            fields=(
                nullable("name", "STRING", "Its name; for some rows with the path before it."),
                nullable(
                    "global_name",
                    "STRING",
                    "Its full name; an instance's has /zones/<zone>/instances/<id>.",
                ),
            ),
        ),
        repeated(
            "tags",
            "RECORD",
            "Tags of the resource.",
            fields=(
                nullable("key", "STRING", "Name."),
                nullable("value", "STRING", "Value."),
                nullable("inherited", "BOOLEAN", "Whether it is set on something above."),
                nullable("namespace", "STRING", "Where the tag is defined."),
            ),
        ),
        nullable(
            "price",
            "RECORD",
            "The price of the SKU.",
            fields=(
                nullable("effective_price", "NUMERIC", "What is paid for a unit."),
                nullable("tier_start_amount", "NUMERIC", "From which amount it holds."),
                nullable("unit", "STRING", "Pricing unit."),
                nullable("pricing_unit_quantity", "NUMERIC", "Units that the price is for."),
                nullable("list_price", "NUMERIC", "List price."),
                nullable("effective_price_default", "NUMERIC", "Price without a commitment."),
                nullable("list_price_consumption_model", "NUMERIC", "List price of the model."),
            ),
        ),
        nullable(
            "subscription",
            "RECORD",
            "The commitment that pays.",
            fields=(nullable("instance_id", "STRING", "Its id."),),
        ),
        nullable("transaction_type", "STRING", "Who sells, such as GOOGLE."),
        nullable("seller_name", "STRING", "Name of the seller."),
        nullable("cost_at_list", "FLOAT", "Cost at list prices."),
        nullable("cost_at_effective_price_default", "FLOAT", "Cost without a commitment."),
        nullable("cost_at_list_consumption_model", "FLOAT", "Cost at the model's list prices."),
        nullable(
            "consumption_model",
            "RECORD",
            "The model by which it is priced.",
            fields=(
                nullable("id", "STRING", "Its id."),
                nullable("description", "STRING", "Its name."),
            ),
        ),
    ),
    partition_column="usage_start_time",
)

_AZURE_COLUMNS: tuple[Column, ...] = (
    nullable("invoiceId", "STRING", "The invoice it is on."),
    nullable("previousInvoiceId", "STRING", "Of a refund: the invoice that is refunded."),
    nullable("billingAccountId", "STRING", "The account that pays."),
    nullable("billingAccountName", "STRING", "Its name."),
    nullable("billingProfileId", "STRING", "The billing profile."),
    nullable("billingProfileName", "STRING", "Its name."),
    nullable("invoiceSectionId", "STRING", "The section of the invoice."),
    nullable("invoiceSectionName", "STRING", "Its name."),
    nullable("resellerName", "STRING", "The reseller."),
    nullable("resellerMpnId", "STRING", "The reseller's id."),
    nullable("costCenter", "STRING", "The cost centre."),
    nullable("billingPeriodEndDate", "DATE", "Last day of the billing period."),
    nullable("billingPeriodStartDate", "DATE", "First day of the billing period."),
    nullable("servicePeriodEndDate", "DATE", "Last day for which the price holds."),
    nullable("servicePeriodStartDate", "DATE", "First day for which the price holds."),
    nullable("date", "DATE", "The UTC day of the usage."),
    nullable("serviceFamily", "STRING", "Family of the service, such as Compute."),
    nullable("productOrderId", "STRING", "The order."),
    nullable("productOrderName", "STRING", "Its name."),
    nullable("consumedService", "STRING", "The service, such as Microsoft.Compute."),
    nullable("meterId", "STRING", "The meter."),
    nullable("meterName", "STRING", "Its name, such as F16s v2 Spot."),
    nullable("meterCategory", "STRING", "Its category; a machine's time is Virtual Machines."),
    nullable("meterSubCategory", "STRING", "Its subcategory."),
    nullable("meterRegion", "STRING", "Where it is priced."),
    nullable("ProductId", "STRING", "The product."),
    nullable("ProductName", "STRING", "Its name."),
    nullable("SubscriptionId", "STRING", "The subscription's id."),
    nullable("subscriptionName", "STRING", "The subscription: the project of its workers."),
    nullable("publisherType", "STRING", "Azure, AWS or Marketplace."),
    nullable("publisherId", "STRING", "The publisher's id."),
    nullable("publisherName", "STRING", "The publisher."),
    nullable("resourceGroupName", "STRING", "The resource group."),
    nullable(
        "ResourceId",
        "STRING",
        "What was used; a machine's ends in /virtualMachines/<name>. In any case of letters.",
    ),
    nullable("resourceLocation", "STRING", "Where it is. In any case of letters."),
    nullable("location", "STRING", "Where it is, as the meter spells it."),
    nullable("effectivePrice", "FLOAT", "What is paid for a unit."),
    nullable("quantity", "FLOAT", "How much was used, in the unit."),
    nullable("unitOfMeasure", "STRING", "The unit; of a machine's time 1 Hour."),
    nullable("chargeType", "STRING", "Usage, Purchase, Refund, RoundingAdjustment and others."),
    nullable("billingCurrency", "STRING", "Currency of the bill."),
    nullable("pricingCurrency", "STRING", "Currency of the prices."),
    nullable("costInBillingCurrency", "FLOAT", "Cost, discounts included."),
    nullable("costInPricingCurrency", "FLOAT", "Cost in the currency of the prices."),
    nullable("costInUsd", "FLOAT", "Cost in US dollars."),
    nullable("paygCostInBillingCurrency", "FLOAT", "Cost at retail prices."),
    nullable("paygCostInUsd", "FLOAT", "Cost at retail prices in US dollars."),
    nullable("exchangeRatePricingToBilling", "FLOAT", "Rate between the two currencies."),
    nullable("exchangeRateDate", "DATE", "Day of the rate."),
    nullable("isAzureCreditEligible", "BOOLEAN", "Whether credits can pay for it."),
    nullable("serviceInfo1", "STRING", "Of the service."),
    nullable("serviceInfo2", "STRING", "Of the service."),
    nullable("additionalInfo", "STRING", "Of the service, as JSON."),
    nullable("tags", "STRING", "Tags of the resource, as JSON without its braces."),
    nullable("PayGPrice", "FLOAT", "Retail price of a unit."),
    nullable("frequency", "STRING", "UsageBased, OneTime or Recurring."),
    nullable("term", "STRING", "Of a commitment: its months."),
    nullable("reservationId", "STRING", "The reservation that pays."),
    nullable("reservationName", "STRING", "Its name."),
    nullable("pricingModel", "STRING", "OnDemand, Spot, Reservation or SavingsPlan."),
    nullable("unitPrice", "FLOAT", "Price of a unit."),
    nullable("costAllocationRuleName", "STRING", "The rule by which a cost was allocated."),
    nullable("benefitId", "STRING", "The benefit that applies."),
    nullable("benefitName", "STRING", "Its name."),
    nullable("provider", "STRING", "Microsoft."),
    nullable("sourceDataId", "STRING", "The snapshot that the row is from."),
)

_LOOKUP_COLUMNS: tuple[Column, ...] = (
    nullable("sourceDataId", "STRING", "A snapshot that is current. Repeats."),
    nullable("loadTime", "TIMESTAMP", "When it became current."),
)


def _azure(name: str, whose: str) -> tuple[Source, Source]:
    """The load table and its lookup, of which neither means anything without the other."""
    load = Source(
        name=name,
        title=f"Bill of Azure ({whose})",
        description=(
            "Microsoft's daily actual cost, in the columns of a customer agreement: one row for "
            "each resource, meter and day. Each export is a snapshot that replaces the one before, "
            f"whose rows stay: those that count have a sourceDataId that is in {name}_lookup."
        ),
        columns=_AZURE_COLUMNS,
        partition_column="date",
    )
    lookup = Source(
        name=f"{name}_lookup",
        title=f"Current snapshots of Azure's bill ({whose})",
        description=(
            f"Which snapshots of {name} are current: one row for each file of each. Rows repeat."
        ),
        columns=_LOOKUP_COLUMNS,
        partition_column=None,
    )
    return load, lookup


AZURE_FXCI, AZURE_FXCI_LOOKUP = _azure("azure_fxci", "fxci")
AZURE_TASKCLUSTER, AZURE_TASKCLUSTER_LOOKUP = _azure("azure_taskcluster", "taskcluster")

BILLING: tuple[Source, ...] = (
    GCP,
    AZURE_FXCI,
    AZURE_FXCI_LOOKUP,
    AZURE_TASKCLUSTER,
    AZURE_TASKCLUSTER_LOOKUP,
)
"""Every table of bills."""
