//! Semantic types and units of DTDL: which unit a quantity may have, per version of the vocabulary.
//!
//! # Invariants
//! - Vocabularies are nested: what DTDL v2 has built in is in `QuantitativeTypes` 1 and 2, and what
//!   these have is in `QuantitativeTypes` 3.

use super::context::Vocabulary;

/// A semantic type and the unit type that measures it.
#[derive(Debug)]
pub(crate) struct Semantic {
    pub(crate) name: &'static str,
    pub(crate) unit_type: &'static str,
    since: Vocabulary,
}

/// The semantic type of a name in a vocabulary.
pub(crate) fn semantic(name: &str, vocabulary: Vocabulary) -> Option<&'static Semantic> {
    SEMANTICS
        .iter()
        .find(|semantic| semantic.name == name && semantic.since <= vocabulary)
}

/// Names of all semantic types of a vocabulary.
pub(crate) fn semantic_names(vocabulary: Vocabulary) -> impl Iterator<Item = &'static str> {
    SEMANTICS
        .iter()
        .filter(move |s| s.since <= vocabulary)
        .map(|s| s.name)
}

/// Names of the units of a unit type in a vocabulary.
pub(crate) fn units_of(
    unit_type: &str,
    vocabulary: Vocabulary,
) -> impl Iterator<Item = &'static str> {
    UNITS
        .iter()
        .filter(move |(of, since, _)| *of == unit_type && *since <= vocabulary)
        .flat_map(|(_, _, units)| units.split(' '))
}

const fn row(name: &'static str, unit_type: &'static str, since: Vocabulary) -> Semantic {
    Semantic {
        name,
        unit_type,
        since,
    }
}

use Vocabulary::{Quantitative1 as Q1, Quantitative3 as Q3, Version2 as V2};

const SEMANTICS: &[Semantic] = &[
    row("Acceleration", "AccelerationUnit", V2),
    row("Angle", "AngleUnit", V2),
    row("AngularAcceleration", "AngularAccelerationUnit", V2),
    row("AngularVelocity", "AngularVelocityUnit", V2),
    row("ApparentEnergy", "ApparentEnergyUnit", Q1),
    row("ApparentPower", "ApparentPowerUnit", Q1),
    row("Area", "AreaUnit", V2),
    row("Capacitance", "CapacitanceUnit", V2),
    row("Concentration", "Unitless", Q1),
    row("Current", "CurrentUnit", V2),
    row("DataRate", "DataRateUnit", V2),
    row("DataSize", "DataSizeUnit", V2),
    row("Density", "DensityUnit", V2),
    row("Distance", "LengthUnit", V2),
    row("DynamicViscosity", "DynamicViscosityUnit", Q3),
    row("Efficiency", "Unitless", Q3),
    row("ElectricCharge", "ChargeUnit", V2),
    row("Energy", "EnergyUnit", V2),
    row("EnergyRate", "PowerUnit", Q1),
    row("Force", "ForceUnit", V2),
    row("Frequency", "FrequencyUnit", V2),
    row("GasLeakageRate", "GasLeakageRateUnit", Q3),
    row("Humidity", "DensityUnit", V2),
    row("Illuminance", "IlluminanceUnit", V2),
    row("Inductance", "InductanceUnit", V2),
    row("IonizingRadiationDose", "IonizingRadiationDoseUnit", Q1),
    row("Irradiance", "IrradianceUnit", Q1),
    row("KinematicViscosity", "KinematicViscosityUnit", Q3),
    row("Latitude", "AngleUnit", V2),
    row("Length", "LengthUnit", V2),
    row("Longitude", "AngleUnit", V2),
    row("Luminance", "LuminanceUnit", V2),
    row("Luminosity", "PowerUnit", V2),
    row("LuminousFlux", "LuminousFluxUnit", V2),
    row("LuminousIntensity", "LuminousIntensityUnit", V2),
    row("MagneticFlux", "MagneticFluxUnit", V2),
    row("MagneticInduction", "MagneticInductionUnit", V2),
    row("Mass", "MassUnit", V2),
    row("MassFlowRate", "MassFlowRateUnit", V2),
    row("Power", "PowerUnit", V2),
    row("Pressure", "PressureUnit", V2),
    row("Radioactivity", "RadioactivityUnit", Q1),
    row("ReactiveEnergy", "ReactiveEnergyUnit", Q1),
    row("ReactivePower", "ReactivePowerUnit", Q1),
    row("ReciprocalLength", "ReciprocalLengthUnit", Q3),
    row("ReciprocalTime", "ReciprocalTimeUnit", Q3),
    row("RelativeDensity", "Unitless", Q1),
    row("RelativeHumidity", "Unitless", V2),
    row("RelativeMeasure", "Unitless", Q3),
    row("Resistance", "ResistanceUnit", V2),
    row("Scale", "Unitless", Q3),
    row("SoundPressure", "SoundPressureUnit", V2),
    row("Temperature", "TemperatureUnit", V2),
    row("Throttle", "Unitless", Q3),
    row("Thrust", "ForceUnit", V2),
    row("TimeSpan", "TimeUnit", V2),
    row("Torque", "TorqueUnit", V2),
    row("Velocity", "VelocityUnit", V2),
    row("Voltage", "VoltageUnit", V2),
    row("Volume", "VolumeUnit", V2),
    row("VolumeFlowRate", "VolumeFlowRateUnit", V2),
];

/// Unit type, vocabulary, and the units that vocabulary brought.
const UNITS: &[(&str, Vocabulary, &str)] = &[
    (
        "AccelerationUnit",
        V2,
        "centimetrePerSecondSquared gForce metrePerSecondSquared",
    ),
    (
        "AccelerationUnit",
        Q3,
        "kilometrePerSecondSquared millimetrePerSecondSquared",
    ),
    (
        "AngleUnit",
        V2,
        "degreeOfArc minuteOfArc radian secondOfArc turn",
    ),
    ("AngularAccelerationUnit", V2, "radianPerSecondSquared"),
    (
        "AngularVelocityUnit",
        V2,
        "degreePerSecond radianPerSecond revolutionPerMinute revolutionPerSecond",
    ),
    (
        "ApparentEnergyUnit",
        Q1,
        "gigavoltAmpereHour kilovoltAmpereHour megavoltAmpereHour voltAmpereHour",
    ),
    ("ApparentEnergyUnit", Q3, "millivoltAmpereHour"),
    (
        "ApparentPowerUnit",
        Q1,
        "gigavoltAmpere kilovoltAmpere megavoltAmpere millivoltAmpere voltAmpere",
    ),
    (
        "AreaUnit",
        V2,
        "acre hectare squareCentimetre squareFoot squareInch squareKilometre squareMetre \
      squareMillimetre",
    ),
    (
        "CapacitanceUnit",
        V2,
        "farad microfarad millifarad nanofarad picofarad",
    ),
    ("ChargeUnit", V2, "coulomb"),
    ("ChargeUnit", Q1, "ampereHour milliampereHour"),
    ("CurrentUnit", V2, "ampere microampere milliampere"),
    ("CurrentUnit", Q1, "kiloampere"),
    ("CurrentUnit", Q3, "nanoampere picoampere"),
    (
        "DataRateUnit",
        V2,
        "bitPerSecond bytePerSecond exbibitPerSecond exbibytePerSecond gibibitPerSecond \
      gibibytePerSecond kibibitPerSecond kibibytePerSecond mebibitPerSecond \
      mebibytePerSecond tebibitPerSecond tebibytePerSecond yobibitPerSecond \
      yobibytePerSecond zebibitPerSecond zebibytePerSecond",
    ),
    (
        "DataSizeUnit",
        V2,
        "bit byte exbibit exbibyte gibibit gibibyte kibibit kibibyte mebibit mebibyte \
      tebibit tebibyte yobibit yobibyte zebibit zebibyte",
    ),
    ("DensityUnit", V2, "gramPerCubicMetre kilogramPerCubicMetre"),
    (
        "DensityUnit",
        Q1,
        "microgramPerCubicMetre milligramPerCubicMetre",
    ),
    (
        "DynamicViscosityUnit",
        Q3,
        "centipoise millipascalSecond millipoise pascalSecond poise",
    ),
    (
        "EnergyUnit",
        V2,
        "electronvolt gigajoule joule kilojoule kilowattHour megaelectronvolt megajoule",
    ),
    (
        "EnergyUnit",
        Q1,
        "britishThermalUnit gigawattHour kiloBritishThermalUnit megawattHour \
      milliwattHour terawattHour wattHour",
    ),
    ("ForceUnit", V2, "newton ounce pound ton"),
    ("FrequencyUnit", V2, "gigahertz hertz kilohertz megahertz"),
    ("FrequencyUnit", Q1, "millihertz"),
    (
        "GasLeakageRateUnit",
        Q3,
        "decapascalCubicMetrePerSecond hectopascalCubicMetrePerSecond \
      kilopascalCubicMetrePerSecond pascalCubicMetrePerSecond",
    ),
    ("IlluminanceUnit", V2, "footcandle lux"),
    ("InductanceUnit", V2, "henry microhenry millihenry"),
    (
        "IonizingRadiationDoseUnit",
        Q1,
        "gray microgray microsievert milligray millisievert sievert",
    ),
    ("IrradianceUnit", Q1, "wattPerSquareMetre"),
    (
        "KinematicViscosityUnit",
        Q3,
        "centistokes squareMetrePerSecond stokes",
    ),
    (
        "LengthUnit",
        V2,
        "astronomicalUnit centimetre foot inch kilometre metre micrometre mile millimetre \
      nanometre nauticalMile",
    ),
    ("LuminanceUnit", V2, "candelaPerSquareMetre"),
    ("LuminousFluxUnit", V2, "lumen"),
    ("LuminousIntensityUnit", V2, "candela"),
    ("MagneticFluxUnit", V2, "maxwell weber"),
    ("MagneticInductionUnit", V2, "tesla"),
    ("MagneticInductionUnit", Q1, "gauss"),
    (
        "MassFlowRateUnit",
        V2,
        "gramPerHour gramPerSecond kilogramPerHour kilogramPerSecond",
    ),
    ("MassFlowRateUnit", Q1, "massPoundPerHour"),
    (
        "MassUnit",
        V2,
        "gram kilogram microgram milligram slug tonne",
    ),
    ("MassUnit", Q1, "massPound"),
    (
        "PowerUnit",
        V2,
        "gigawatt horsepower kilowatt kilowattHourPerYear megawatt microwatt milliwatt \
      watt",
    ),
    (
        "PowerUnit",
        Q1,
        "britishThermalUnitPerHour gigajoulePerHour joulePerHour joulePerSecond \
      kiloBritishThermalUnitPerHour kilojoulePerHour kilojoulePerSecond \
      megajoulePerHour tonOfRefrigeration",
    ),
    (
        "PressureUnit",
        V2,
        "bar inchesOfMercury inchesOfWater kilopascal millibar millimetresOfMercury \
      pascal poundPerSquareInch",
    ),
    ("PressureUnit", Q1, "decapascal hectopascal"),
    (
        "RadioactivityUnit",
        Q1,
        "becquerel gigabecquerel kilobecquerel megabecquerel",
    ),
    (
        "ReactiveEnergyUnit",
        Q1,
        "gigavoltAmpereReactiveHour kilovoltAmpereReactiveHour megavoltAmpereReactiveHour \
      voltAmpereReactiveHour",
    ),
    (
        "ReactivePowerUnit",
        Q1,
        "gigavoltAmpereReactive kilovoltAmpereReactive megavoltAmpereReactive \
      millivoltAmpereReactive voltAmpereReactive",
    ),
    (
        "ReciprocalLengthUnit",
        Q3,
        "reciprocalCentimetre reciprocalKilometre reciprocalMetre reciprocalMicrometre \
      reciprocalMillimetre reciprocalNanometre",
    ),
    (
        "ReciprocalTimeUnit",
        Q3,
        "reciprocalMinute reciprocalSecond",
    ),
    ("ResistanceUnit", V2, "kiloohm megaohm milliohm ohm"),
    ("SoundPressureUnit", V2, "bel decibel"),
    (
        "TemperatureUnit",
        V2,
        "degreeCelsius degreeFahrenheit kelvin",
    ),
    (
        "TimeUnit",
        V2,
        "day hour microsecond millisecond minute nanosecond second year",
    ),
    ("TorqueUnit", V2, "newtonMetre"),
    ("Unitless", V2, "percent unity"),
    (
        "Unitless",
        Q1,
        "partsPerBillion partsPerMillion partsPerQuadrillion partsPerTrillion",
    ),
    (
        "VelocityUnit",
        V2,
        "centimetrePerSecond kilometrePerHour kilometrePerSecond knot metrePerHour \
      metrePerSecond milePerHour milePerSecond",
    ),
    ("VelocityUnit", Q3, "millimetrePerSecond"),
    (
        "VoltageUnit",
        V2,
        "kilovolt megavolt microvolt millivolt volt",
    ),
    (
        "VolumeFlowRateUnit",
        V2,
        "litrePerHour litrePerSecond millilitrePerHour millilitrePerSecond",
    ),
    (
        "VolumeFlowRateUnit",
        Q1,
        "cubicFootPerMinute cubicMetrePerHour cubicMetrePerMinute cubicMetrePerSecond \
      gallonPerHour gallonPerMinute litrePerMinute millilitrePerMinute",
    ),
    (
        "VolumeFlowRateUnit",
        Q3,
        "cubicCentimetrePerMinute cubicCentimetrePerSecond",
    ),
    (
        "VolumeUnit",
        V2,
        "cubicCentimetre cubicFoot cubicInch cubicMetre fluidOunce gallon litre \
      millilitre",
    ),
];
