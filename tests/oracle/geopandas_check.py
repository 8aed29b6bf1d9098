"""Asks the twin and geopandas the same questions and counts the differences.

geopandas (GEOS) says which village holds a point, pyproj (GeographicLib) how far a facility is.
Both read the published files themselves. Exit 0: no difference; 1: differences, each printed.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import geopandas
import numpy
import pandas
import pyproj
import shapely

POINTS = 10_000
VERTICES = 500
RADII = 1_000
NEAREST = 200
NEAREST_K = 5
THRESHOLDS = 40
REFUSED_MAX = 20
# Rwanda with a margin, so that some points lie in no village.
WEST, SOUTH, EAST, NORTH = 28.8, -2.9, 31.0, -1.0
# Two implementations of geodesics may differ by this and still name the same distance.
SAME_METRES = 1e-6
SHOWN_MAX = 20


class Differences:
    def __init__(self):
        self.count = 0

    def expect(self, same, text):
        if not same:
            self.count += 1
            if self.count <= SHOWN_MAX:
                print("DIFFERENCE", text)


class Twin:
    def __init__(self, url):
        self.url = url

    def ask(self, query):
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(
            self.url, body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.loads(error.read() or b"{}")

    def ask_all(self, fields, batch):
        """Asks many fields, some a request, fewer where the twin finds that too much."""
        answers = []
        while len(answers) < len(fields):
            part = fields[len(answers) : len(answers) + batch]
            query = "{" + "\n".join(f"q{i}: {field}" for i, field in enumerate(part)) + "}"
            answer = self.ask(query)
            if "errors" in answer or "data" not in answer:
                codes = {
                    error.get("extensions", {}).get("code")
                    for error in answer.get("errors", [])
                }
                if batch > 1 and codes and codes <= {"TOO_COSTLY", "LIMITED"}:
                    batch //= 2
                    continue
                sys.exit(f"the twin refused: {json.dumps(answer)[:2000]}\n{query[:500]}")
            answers += [answer["data"][f"q{i}"] for i in range(len(part))]
        return answers


def code(twin_id):
    """The published code at the end of a twin's id."""
    return int(twin_id.rsplit(":", 1)[1])


def point(lon, lat):
    return f"{{lon: {lon!r}, lat: {lat!r}}}"


def check_points(twin, villages, random, wrong):
    # Most lie in the bounds of some village, so in it or just beside it; the others anywhere.
    bounds = villages.bounds.values[random.integers(0, len(villages), POINTS)]
    bounds[: POINTS // 5] = WEST, SOUTH, EAST, NORTH
    lon = random.uniform(bounds[:, 0], bounds[:, 2])
    lat = random.uniform(bounds[:, 1], bounds[:, 3])
    # Corners of boundaries: a boundary counts as inside, so each belongs to every village there.
    corners = shapely.get_coordinates(villages.geometry.values)
    corners = corners[random.integers(0, len(corners), VERTICES)]
    lon = numpy.concatenate([lon, corners[:, 0]])
    lat = numpy.concatenate([lat, corners[:, 1]])
    asked = geopandas.GeoDataFrame(geometry=shapely.points(lon, lat), crs=villages.crs)
    joined = geopandas.sjoin(asked, villages[["id", "geometry"]], predicate="intersects")
    expected = [set() for _ in range(len(asked))]
    for index, village in zip(joined.index, joined["id"]):
        expected[index].add(int(village))
    fields = [
        f'containing(point: {point(float(x), float(y))}, class: "Village") {{id}}'
        for x, y in zip(lon, lat)
    ]
    for i, found in enumerate(twin.ask_all(fields, 100)):
        found = {code(row["id"]) for row in found}
        wrong.expect(
            found == expected[i],
            f"village of ({lon[i]!r}, {lat[i]!r}): ours {sorted(found)}, geopandas {sorted(expected[i])}",
        )
    inside = sum(1 for e in expected[:POINTS] if e)
    shared = sum(1 for e in expected[POINTS:] if len(e) > 1)
    print(f"points: {POINTS} at random ({inside} in a village), {VERTICES} corners ({shared} shared)")


def facilities_of(twin, published, wrong):
    """Our facilities as (id, index in the published list)."""
    answer = twin.ask(
        "{ healthFacilities(first: 1000) { totalCount edges { node { id label geometry } } } }"
    )
    if "errors" in answer:
        sys.exit(f"the twin refused: {answer}")
    by_name = {name: i for i, name in enumerate(published["Facility name"])}
    ours = []
    for edge in answer["data"]["healthFacilities"]["edges"]:
        node = edge["node"]
        index = by_name.get(node["label"])
        wrong.expect(index is not None, f"facility {node['label']!r} is not in the published list")
        if index is None:
            continue
        at = published["Long"][index], published["Lat"][index]
        wrong.expect(
            tuple(node["geometry"]["coordinates"][:2]) == at,
            f"{node['label']}: ours at {node['geometry']}, published at {at}",
        )
        ours.append((node["id"], index))
    refused = sorted(set(by_name.values()) - {index for _, index in ours})
    print(f"facilities: {len(ours)} of {len(published)}; refused: {[published['Facility name'][i] for i in refused]}")
    wrong.expect(len(refused) <= REFUSED_MAX, f"{len(refused)} facilities refused")
    return sorted(ours)


def check_distances(twin, published, random, wrong):
    ours = facilities_of(twin, published, wrong)
    ids = numpy.array([i for i, _ in ours])
    index = numpy.array([j for _, j in ours])
    lon, lat = published["Long"].values[index], published["Lat"].values[index]
    geod = pyproj.Geod(ellps="WGS84")

    def metres_from(x, y):
        n = len(lon)
        return geod.inv(numpy.full(n, x), numpy.full(n, y), lon, lat)[2]

    centers = [
        (float(random.uniform(WEST, EAST)), float(random.uniform(SOUTH, NORTH)))
        for _ in range(RADII)
    ]
    radii = [float(10 ** random.uniform(2.5, 5.0)) for _ in range(RADII)]
    fields = [
        f"healthFacilities(first: 1000, space: {{radius: {{center: {point(*c)}, metres: {r!r}}}}})"
        " {edges {node {id}}}"
        for c, r in zip(centers, radii)
    ]
    answers = 0
    for center, radius, found in zip(centers, radii, twin.ask_all(fields, 10)):
        found = {edge["node"]["id"] for edge in found["edges"]}
        expected = set(ids[metres_from(*center) <= radius])
        answers += len(expected)
        wrong.expect(
            found == expected,
            f"within {radius!r} m of {center}: only ours {sorted(found - expected)}, only pyproj {sorted(expected - found)}",
        )
    print(f"radii: {RADII}, {answers} facilities found in all")

    fields = [
        f'nearest(class: "HealthFacility", to: {point(*c)}, k: {NEAREST_K}) {{twin {{id}} metres}}'
        for c in centers[:NEAREST]
    ]
    for center, found in zip(centers, twin.ask_all(fields, 20)):
        metres = metres_from(*center)
        # ids are sorted, and the sort is stable: ties go to the lowest id.
        order = numpy.argsort(metres, kind="stable")[:NEAREST_K]
        same = [near["twin"]["id"] for near in found] == list(ids[order]) and all(
            abs(near["metres"] - metres[i]) <= SAME_METRES for near, i in zip(found, order)
        )
        wrong.expect(same, f"nearest to {center}: ours {found}, pyproj {list(zip(ids[order], metres[order]))}")
    print(f"nearest {NEAREST_K}: {NEAREST}")


def check_conditions(twin, villages, random, wrong):
    population = villages["population"]
    limits = [int(n) for n in random.integers(0, 3_000, THRESHOLDS)]
    fields = [
        f"villages(first: 1, where: {{population: {{gte: {n}}}}}) {{totalCount}}" for n in limits
    ]
    for n, found in zip(limits, twin.ask_all(fields, 10)):
        expected = int((population >= n).sum())
        wrong.expect(
            found["totalCount"] == expected,
            f"villages with population >= {n}: ours {found['totalCount']}, published {expected}",
        )
    print(f"conditions: {THRESHOLDS}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--seed", type=int, default=20261121)
    args = parser.parse_args()
    random = numpy.random.default_rng(args.seed)
    twin = Twin(args.url)
    wrong = Differences()
    areas = geopandas.read_parquet(args.data / "rwanda/admin_boundaries_full.parquet")
    villages = areas[areas["level"] == "village"].reset_index(drop=True)
    published = pandas.read_csv(args.data / "rwanda/health_who_kemri.csv.gz")
    for check, truth in (
        (check_points, villages),
        (check_distances, published),
        (check_conditions, villages),
    ):
        start = time.monotonic()
        check(twin, truth, random, wrong)
        print(f"  {time.monotonic() - start:.1f} s")
    print(f"{wrong.count} differences")
    sys.exit(1 if wrong.count else 0)


if __name__ == "__main__":
    main()
