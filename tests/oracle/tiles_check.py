"""Reads some hundreds of tiles with mapbox-vector-tile and Google's protobuf, and counts what is wrong.

What must be on a tile is taken from the API (GraphQL) and projected here, by the formula of Web
Mercator; GEOS (shapely) says what is valid, where it lies and how large it is. Exit 0: nothing
wrong; 1: each difference printed.
"""

import argparse
import json
import math
import os
import random
import sys
import urllib.request
from collections import Counter

import mapbox_vector_tile
import numpy
import shapely
from mapbox_vector_tile.Mapbox import vector_tile_pb2
from shapely.geometry import shape

EXTENT = 4096
# Tiles drawn by chance, over all zooms that are offered.
RANDOM_TILES = int(os.environ.get("TWIN_TILES", "300"))
ZOOMS = 18
# Parts of areas and lengths by which tiles may differ from the API: they are rounded.
SAME_PART = 0.005
# What JavaScript holds.
LARGEST_ID = 2**53 - 1
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

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=120) as answer:
            return answer.read()

    def ask(self, query, variables=None):
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + "/graphql", body, kind)
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer = json.load(answer)
        if "errors" in answer:
            raise SystemExit(f"the API answers {answer['errors']}")
        return answer["data"]

    def rows(self, field, fields, arguments="", page=500):
        """All nodes of a list."""
        found, after = [], None
        query = f"""query($after: String) {{ {field}(first: {page}, after: $after{arguments}) {{
            edges {{ node {{ {fields} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"""
        while True:
            part = self.ask(query, {"after": after})[field]
            found += [edge["node"] for edge in part["edges"]]
            if not part["pageInfo"]["hasNextPage"]:
                return found
            after = part["pageInfo"]["endCursor"]


def mercator(lon, lat):
    """Parts of the square map, from its north-west corner."""
    sin = math.sin(math.radians(lat))
    return lon / 360 + 0.5, 0.5 - math.log((1 + sin) / (1 - sin)) / (4 * math.pi)


def projected(geometry, zoom):
    """A geometry in units of the whole map at a zoom."""
    size = EXTENT * 2**zoom

    def project(places):
        return size * numpy.array([mercator(*place) for place in places])

    return shapely.transform(shape(geometry), project)


def tiles_of(bounds, zoom):
    """Numbers of all tiles that a box of units touches."""
    west, north, east, south = (int(v // EXTENT) for v in bounds)
    last = 2**zoom - 1
    for x in range(max(west, 0), min(east, last) + 1):
        for y in range(max(north, 0), min(south, last) + 1):
            yield x, y


def paths(commands):
    """The paths of a geometry as the specification writes them, and whether each is closed."""
    found, x, y, at = [], 0, 0, 0
    while at < len(commands):
        command, count = commands[at] & 7, commands[at] >> 3
        at += 1
        if command == 7:
            found[-1][1] = True
            continue
        for _ in range(count):
            dx, dy = ((v >> 1) ^ -(v & 1) for v in commands[at : at + 2])
            at, x, y = at + 2, x + dx, y + dy
            if command == 1:
                found.append([[], False])
            found[-1][0].append((x, y))
    return found


def surveyed(ring):
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1]))


def read(differences, layer, data, where):
    """Features of a tile as (id, properties, geometry); checks whatever can be checked of it alone."""
    if not data:
        return []
    raw = vector_tile_pb2.tile()
    raw.ParseFromString(data)
    differences.expect(len(raw.layers) == 1, f"{where}: {len(raw.layers)} layers")
    head = raw.layers[0]
    said = (head.name, head.extent, head.version)
    differences.expect(said == (layer, EXTENT, 2), f"{where}: {said}")
    differences.expect(len(set(head.keys)) == len(head.keys), f"{where}: a key twice")
    values = [value.SerializeToString() for value in head.values]
    differences.expect(len(set(values)) == len(values), f"{where}: a value twice")
    for feature in head.features:
        if feature.type == vector_tile_pb2.tile.Polygon:
            rings = paths(list(feature.geometry))
            areas = [surveyed(ring) for ring, _ in rings]
            sound = all(closed and len(ring) > 2 for ring, closed in rings)
            differences.expect(sound and areas[0] > 0 and 0 not in areas, f"{where}: rings {areas}")
    options = {"y_coord_down": True}
    features = mapbox_vector_tile.decode(data, default_options=options)[layer]["features"]
    differences.expect(len(features) == len(head.features), f"{where}: features")
    found = []
    for feature in features:
        geometry = shape(feature["geometry"])
        valid = geometry.is_valid and not geometry.is_empty
        reason = "" if valid else shapely.is_valid_reason(geometry)
        differences.expect(valid, f"{where}: {feature['properties'].get('id')} {reason}")
        differences.expect(0 <= feature["id"] <= LARGEST_ID, f"{where}: id {feature['id']}")
        found.append((feature["id"], feature["properties"], geometry))
    return found


def tile(twin, differences, layer, zoom, x, y, query=""):
    where = f"/tiles/{layer}/{zoom}/{x}/{y}.mvt{query}"
    return read(differences, layer, twin.get(where), where)


def by_chance(twin, differences, layers, ids, seed):
    """Tiles over all zooms: valid, and of twins that the API knows."""
    chance = random.Random(seed)
    features, empty = 0, 0
    for number in range(RANDOM_TILES):
        layer = chance.choice(layers)
        west, south, east, north = layer["bounds"]
        zoom = number % ZOOMS
        lon, lat = chance.uniform(west, east), chance.uniform(south, north)
        x, y = (min(int(v * 2**zoom), 2**zoom - 1) for v in mercator(lon, lat))
        found = tile(twin, differences, layer["name"], zoom, x, y)
        empty += not found
        for _, properties, _ in found:
            features += 1
            if "cell" in properties:
                differences.expect(properties["count"] > 0, f"an empty cell of {layer['name']}")
                continue
            known = ids.get(properties["id"])
            differences.expect(
                known == properties["class"], f"{properties['id']} of {layer['name']} is {known}"
            )
    print(f"{RANDOM_TILES} tiles by chance hold {features} features; {empty} are empty")


def areas(twin, differences, layer, rows, zoom, inside=None):
    """Area and length of borders of areas, on their tiles together against the API."""
    wanted = {row["id"]: projected(row["geometry"], zoom) for row in rows}
    west, north, east, south = zip(*(geometry.bounds for geometry in wanted.values()))
    bounds = inside or (min(west), min(north), max(east), max(south))
    seen = {id: [0.0, 0.0] for id in wanted}
    count = 0
    for x, y in tiles_of(bounds, zoom):
        square = shapely.box(0, 0, EXTENT, EXTENT)
        count += 1
        for _, properties, geometry in tile(twin, differences, layer, zoom, x, y, "?attrs="):
            if properties["id"] in seen:
                seen[properties["id"]][0] += geometry.intersection(square).area
                seen[properties["id"]][1] += geometry.boundary.intersection(square).length
    sums = [sum(pair[part] for pair in seen.values()) for part in (0, 1)]
    known = [sum(g.area for g in wanted.values()), sum(g.length for g in wanted.values())]
    for what, found, expected in zip(("area", "length"), sums, known):
        part = found / expected - 1
        print(f"{layer} at zoom {zoom}: {len(wanted)} on {count} tiles, {what} {part:+.5%}")
        # Lengths of what is simplified are shorter or longer by what was simplified.
        if what == "area" or zoom >= 14:
            differences.expect(abs(part) <= SAME_PART, f"{layer} at {zoom}: {what} {part:+.3%}")
    for id, geometry in wanted.items():
        part = seen[id][0] / geometry.area - 1
        differences.expect(abs(part) <= 4 * SAME_PART, f"{id} at {zoom}: {part:+.3%}")


def points(twin, differences, layer, rows, zoom):
    """Every point is on one tile, within a unit of where it belongs."""
    wanted = {row["id"]: projected(row["geometry"], zoom) for row in rows}
    tiles = {next(tiles_of(geometry.bounds, zoom)) for geometry in wanted.values()}
    seen = Counter()
    for x, y in tiles:
        for _, properties, geometry in tile(twin, differences, layer, zoom, x, y):
            id = properties.get("id")
            differences.expect(id in wanted, f"{layer} at {zoom}: {id} is not known")
            if id in wanted:
                seen[id] += 1
                off = wanted[id].distance(shapely.Point(geometry.x + x * EXTENT, geometry.y + y * EXTENT))
                differences.expect(off <= 1, f"{id} at {zoom} is {off} units away")
    once = sum(times == 1 for times in seen.values())
    print(f"{layer} at zoom {zoom}: {once} of {len(wanted)} points once, on {len(tiles)} tiles")
    differences.expect(once == len(wanted) == len(seen), f"{layer} at {zoom}: {once} points once")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--seed", type=int, default=20261130)
    asked = parser.parse_args()
    twin, differences = Twin(asked.url), Differences()
    listed = json.loads(twin.get("/tiles.json"))["layers"]
    layers = []
    for row in listed:
        said = json.loads(urllib.request.urlopen(row["url"], timeout=120).read())
        differences.expect(said["tilejson"] == "3.0.0", f"{row['layer']}: {said['tilejson']}")
        differences.expect(said["vector_layers"][0]["id"] == row["layer"], row["layer"])
        differences.expect(said["tiles"][0].startswith(asked.url), said["tiles"][0])
        layers.append({"name": row["layer"], "bounds": said["bounds"]})
    names = {layer["name"] for layer in layers}
    print(f"{len(layers)} layers: {', '.join(sorted(names))}")
    fields = "id class geometry"
    districts = twin.rows("districts", fields)
    villages = twin.rows("villages", "id class", page=1000)
    facilities = [row for row in twin.rows("healthFacilities", fields) if row["geometry"]]
    ids = {row["id"]: row["class"] for row in twin.rows("entities", "id class", page=1000)}
    by_chance(twin, differences, [layer for layer in layers if layer["bounds"]], ids, asked.seed)
    areas(twin, differences, "District", districts, 10)
    areas(twin, differences, "AdministrativeArea", districts, 7)
    # A square of tiles in the middle of the capital: the villages that lie in it wholly.
    x, y = (int(v * 2**14) for v in mercator(30.06, -1.95))
    square = ((x - 3) * EXTENT, (y - 3) * EXTENT, (x + 4) * EXTENT - 1, (y + 4) * EXTENT - 1)
    box = shapely.box(*square)
    capital = ", space: { box: [29.95, -2.05, 30.17, -1.85], relation: WITHIN }"
    near = twin.rows("villages", fields, capital)
    near = [row for row in near if box.contains(projected(row["geometry"], 14))]
    differences.expect(len(near) > 100, f"{len(near)} villages in the capital")
    areas(twin, differences, "Village", near, 14, square)
    for zoom in (8, 12, 15):
        points(twin, differences, "HealthFacility", facilities, zoom)
    print(f"{differences.count} differences")
    sys.exit(differences.count > 0)


if __name__ == "__main__":
    main()
