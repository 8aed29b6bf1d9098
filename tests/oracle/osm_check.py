"""Compares areas of OpenStreetMap in the twin with those that osmium makes of the same file.

osmium (libosmium) reads the file itself and assembles areas by its own rules; shapely (GEOS) says whether two
areas are the same. Exit 0: no difference but those that are foreseen; 1: differences, each printed.
"""

import argparse
import json
import sys
import urllib.request

import osmium
import shapely

PAGE = 500
SHOWN_MAX = 20
# What two programs make of the same numbers may differ by this part of an area.
SAME_PART = 1e-9
# Keys that say nothing about what a relation stands for: its outer way does, as people drew areas
# until 2016. The twin gives the way its holes; osmium no longer does.
SILENT = {"attribution", "created_by", "fixme", "note", "source", "type", "url"}


def ask(url, query):
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer = json.load(answer)
    if "errors" in answer:
        sys.exit(f"the twin refused: {json.dumps(answer)[:2000]}")
    return answer["data"]


def twins(url, name):
    """Geometries of all twins of a list, by id."""
    found, after = {}, ""
    while True:
        query = f"{{ {name}(first: {PAGE}{after}) {{ edges {{ node {{ id geometry }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        page = ask(url, query)[name]
        for edge in page["edges"]:
            found[edge["node"]["id"]] = shapely.from_geojson(json.dumps(edge["node"]["geometry"]))
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = f', after: {json.dumps(page["pageInfo"]["endCursor"])}'


def told(tags, key):
    return tags.get(key, "") not in ("", "no")


def is_building(tags):
    return told(tags, "building")


def is_part(tags):
    return told(tags, "building:part") and not is_building(tags)


def old_outers(path):
    """Ways that a relation without tags of its own has for its only outer one."""
    outers = set()
    for relation in osmium.FileProcessor(path, osmium.osm.RELATION):
        tags = dict(relation.tags)
        if tags.get("type") in ("multipolygon", "boundary") and not set(tags) - SILENT:
            outer = [m.ref for m in relation.members if m.type == "w" and m.role != "inner"]
            if len(outer) == 1:
                outers.add(outer[0])
    return outers


def areas(path, wanted):
    """Geometries that osmium makes of objects whose tags are wanted, by id."""
    factory = osmium.geom.WKBFactory()
    found = {}
    for area in osmium.FileProcessor(path).with_areas():
        if not area.is_area() or not wanted(area.tags):
            continue
        kind = "way" if area.from_way() else "relation"
        try:
            wkb = factory.create_multipolygon(area)
        except RuntimeError:
            continue
        found[f"osm:{kind}:{area.orig_id()}"] = shapely.from_wkb(wkb)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    differences, equal, square = [], 0, 0.0
    old = {f"osm:way:{way}" for way in old_outers(arguments.file)}
    for name, wanted in (("buildings", is_building), ("buildingParts", is_part)):
        ours = twins(arguments.url, name)
        theirs = areas(arguments.file, wanted)
        for key in sorted(theirs.keys() - ours.keys()):
            if shapely.is_valid(theirs[key]):
                differences.append(f"{name}: only osmium has {key}")
        for key in sorted(ours.keys() - theirs.keys()):
            differences.append(f"{name}: only the twin has {key}")
        for key in sorted(ours.keys() & theirs.keys()):
            one, other = ours[key], theirs[key]
            apart = shapely.symmetric_difference(one, other).area
            if apart <= SAME_PART * other.area:
                equal, square = equal + 1, square + other.area
            elif key not in old:
                differences.append(f"{name}: {key} differs by {apart / other.area:.3g} of its area")
    for difference in differences[:SHOWN_MAX]:
        print("DIFFERENCE", difference)
    print(f"{equal} areas are the same, {square:.9f} square degrees; {len(differences)} differences")
    if differences or not equal:
        sys.exit(1)


main()
